import { ids } from './examples.js';

/** E7. */
export const copyJob = {
  name: 'what the vault got, every morning to the second site',
  definition: {
    kind: 'copy',
    sourcePoolId: ids.pool,
    poolId: ids.otherPool,
    points: 'all',
    mostPoints: 1_000,
    group: 'default',
    parallel: { points: 2, disksPerVm: 1, streamsPerDisk: 2 },
  },
  plans: [{ type: 'daily', time: '08:00' }],
};
