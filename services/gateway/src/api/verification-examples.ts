import { ids } from './examples.js';

/** E8. */
export const verifyJob = {
  name: 'all that is in the vault, every Sunday',
  definition: {
    kind: 'verify',
    poolId: ids.pool,
    points: 'newest',
    mostPoints: 1_000,
    depth: 'content',
    group: 'default',
    parallel: { points: 2 },
  },
  plans: [{ type: 'weekly', time: '06:00', everyWeeks: 1, weekdays: ['sunday'] }],
};

export const verification = {
  id: ids.verification,
  pointId: ids.point,
  depth: 'content',
  state: 'damaged',
  requestedBy: 'admin',
  createdAt: '2026-03-02T21:00:00Z',
  finishedAt: '2026-03-02T21:04:10Z',
  checkedBytes: 42_949_607_424,
  disks: [
    {
      target: 'vda',
      sizeBytes: 107_374_182_400,
      checkedBytes: 42_949_607_424,
      damagedBytes: 65_536,
      damaged: [{ offset: 1_048_576, length: 65_536 }],
    },
  ],
  objects: [
    {
      key: `packs/${ids.chain}/00/0195580e-7a10-7000-8000-000000000071`,
      fault: { code: 'POOL_OBJECT_DAMAGED', message: 'a block does not have its id', details: {} },
    },
  ],
  fault: null,
};
