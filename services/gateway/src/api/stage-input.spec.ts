import { checkJobStage, type Problem } from '@casvault/contracts';
import { bearer, testGateway, type TestGateway } from '../testing/test-gateway.js';
import * as examples from './examples.js';

const { vm, pool } = examples.ids;
const otherPool = '01931e5a-7a00-7000-8000-0000000000ff';

const kept: readonly (readonly [name: string, given: object, heard: object])[] = [
  [
    'content',
    { definition: { vmIds: [vm] } },
    { definition: { vmIds: [vm], hostIds: [], excludedVmIds: [] } },
  ],
  ['target', { definition: { poolId: pool } }, { definition: { poolId: pool, group: 'default' } }],
  [
    'plans',
    { plans: [{ type: 'daily', time: '02:30' }] },
    { plans: [{ type: 'daily' }], definition: { group: 'default' } },
  ],
  [
    'content',
    { kind: 'verify', definition: { poolId: pool } },
    { kind: 'verify', definition: { poolId: pool, points: 'all', mostPoints: 10_000 } },
  ],
  [
    'content',
    { kind: 'copy', definition: { sourcePoolId: otherPool, poolId: pool } },
    { kind: 'copy', definition: { sourcePoolId: otherPool, poolId: pool, points: 'all' } },
  ],
  [
    'plans',
    { kind: 'copy', plans: [{ type: 'daily', time: '02:30' }] },
    { kind: 'copy', definition: { group: 'default' } },
  ],
  ['options', { kind: 'verify' }, { definition: { depth: 'stored', parallel: { points: 2 } } }],
  [
    'options',
    { kind: 'copy', definition: { parallel: { points: 3 } } },
    { definition: { parallel: { points: 3, streamsPerDisk: 1 }, options: { reconnect: { minutes: 10 } } } },
  ],
  [
    'options',
    {},
    { definition: { pointKind: 'incremental', retry: { count: 3 }, parallel: { vms: 2 }, powerOff: false } },
  ],
];

const refused: readonly (readonly [name: string, given: object, field: string, rule: RegExp])[] = [
  ['content', { definition: { vmIds: [] } }, 'definition.vmIds', /names no VM/],
  ['target', { definition: {} }, 'definition.poolId', /./],
  ['plans', { plans: [{ type: 'daily', time: '24:00' }] }, 'plans.0.time', /./],
  ['options', { definition: { retry: { count: 11 } } }, 'definition.retry.count', /<=10/],
  ['options', { definition: { vmIds: [vm] } }, 'definition.vmIds', /./],
  ['options', { kind: 'verify', definition: { depth: 'none' } }, 'definition.depth', /./],
  [
    'content',
    { kind: 'copy', definition: { sourcePoolId: pool, poolId: pool } },
    'definition.poolId',
    /another pool/,
  ],
  ['content', { kind: 'restore', definition: {} }, 'kind', /./],
];

describe('D9: a stage of a job through the API', () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await testGateway();
    gateway.services.on(checkJobStage, examples.checkedStage);
  });
  afterAll(() => gateway.stop());

  const check = (stage: string, given: object) =>
    gateway.app.inject({
      method: 'POST',
      url: '/api/v1/jobs/check',
      headers: bearer('operator'),
      payload: { stage, ...given },
    });

  it.each(kept)('D9: %s is judged with the defaults of what it leaves out', async (stage, given, heard) => {
    const response = await check(stage, given);
    expect(response.json()).toEqual(examples.checkedStage);
    expect(gateway.services.last(checkJobStage)?.job).toMatchObject({ stage, ...heard });
  });

  it.each(refused)('D9: %s is refused by name as in the job', async (stage, given, field, rule) => {
    const response = await check(stage, given);
    expect(response.statusCode).toBe(400);
    expect(response.json<Problem>().errors).toEqual([
      expect.objectContaining({ field, rule: expect.stringMatching(rule) as string }),
    ]);
  });
});
