import { createJob, newId, previewContent, type Problem } from '@casvault/contracts';
import { bearer, testGateway, type TestGateway } from '../testing/test-gateway.js';
import * as examples from './examples.js';

const { vm, host, pool } = examples.ids;
const other = newId<string>();

const taken: readonly (readonly [name: string, given: object, kept: object])[] = [
  ['VMs alone', { vmIds: [vm] }, { vmIds: [vm], hostIds: [], excludedVmIds: [] }],
  ['whole hosts', { hostIds: [host] }, { vmIds: [], hostIds: [host], excludedVmIds: [] }],
  ['hosts without a VM', { hostIds: [host], excludedVmIds: [vm] }, { vmIds: [], excludedVmIds: [vm] }],
  [
    'hosts and VMs',
    { vmIds: [vm], hostIds: [host], excludedVmIds: [other] },
    { vmIds: [vm], hostIds: [host] },
  ],
];

const refused: readonly (readonly [name: string, given: object, field: string, rule: RegExp])[] = [
  ['neither VM nor host', { vmIds: [] }, 'vmIds', /names no VM, and hostIds no host/],
  ['VMs left out of no host', { vmIds: [vm], excludedVmIds: [other] }, 'excludedVmIds', /hostIds names none/],
  [
    'a VM left out and named',
    { vmIds: [vm], hostIds: [host], excludedVmIds: [vm] },
    'excludedVmIds',
    /vmIds names/,
  ],
];

describe('D1: the content of a backup through the API', () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await testGateway();
    gateway.services.on(createJob, examples.job);
    gateway.services.on(previewContent, examples.contentPreview);
  });
  afterAll(() => gateway.stop());

  const post = (url: string, payload: object) =>
    gateway.app.inject({ method: 'POST', url: `/api/v1${url}`, headers: bearer('operator'), payload });
  const create = (content: object) =>
    post('/jobs', {
      name: 'x',
      definition: { kind: 'backup', poolId: pool, ...content },
      plans: [{ type: 'manual' }],
    });
  const preview = (content: object) => post('/contents/preview', content);

  it.each(taken)('D1: %s', async (_name, given, kept) => {
    expect((await create(given)).statusCode).toBe(201);
    expect(gateway.services.last(createJob)?.definition).toMatchObject(kept);
    expect((await preview(given)).json()).toEqual(examples.contentPreview);
    expect(gateway.services.last(previewContent)).toMatchObject(kept);
  });

  it.each(refused)('D1: refused by name: %s', async (_name, given, field, rule) => {
    for (const [ask, at] of [
      [create, `definition.${field}`],
      [preview, field],
    ] as const) {
      const response = await ask(given);
      expect(response.statusCode).toBe(400);
      const { errors } = response.json<Problem>();
      expect(errors).toEqual([
        expect.objectContaining({ field: at, rule: expect.stringMatching(rule) as string }),
      ]);
    }
  });
});
