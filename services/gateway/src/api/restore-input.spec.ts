import { createJob, previewRestore, type Problem } from '@casvault/contracts';
import { bearer, testGateway, type TestGateway } from '../testing/test-gateway.js';
import * as examples from './examples.js';

const { definition } = examples.restoreRequest;
const nic = { switchName: 'vswitch0', profileName: null, model: 'virtio' };
const volume = { target: 'vda', volume: 'lun1' };

/** Settings at both ends of each range; each is tried for all VMs and for one. */
const taken: readonly [string, object][] = [
  ['1 CPU', { cpuCount: 1 }],
  ['1024 CPUs', { cpuCount: 1024 }],
  ['1 core a socket', { coresPerSocket: 1 }],
  ['256 cores a socket', { coresPerSocket: 256 }],
  ['64 MiB', { memoryMiB: 64 }],
  ['no network', { nics: [] }],
  ['32 networks', { nics: Array.from({ length: 32 }, () => nic) }],
  ['a thin disk', { preallocation: 'thin' }],
  ['a lazily zeroed disk', { preallocation: 'lazy-zeroed' }],
  ['an eagerly zeroed disk', { preallocation: 'eager-zeroed' }],
  ['power on', { powerOn: true }],
  ['overwriting', { overwrite: true }],
  ['the new path', { path: 'new' }],
];
const refused: readonly [string, object, string, RegExp][] = [
  ['0 CPUs', { cpuCount: 0 }, 'cpuCount', />=1/],
  ['1025 CPUs', { cpuCount: 1025 }, 'cpuCount', /<=1024/],
  ['half a CPU', { cpuCount: 1.5 }, 'cpuCount', /int/],
  ['0 cores a socket', { coresPerSocket: 0 }, 'coresPerSocket', />=1/],
  ['257 cores a socket', { coresPerSocket: 257 }, 'coresPerSocket', /<=256/],
  ['63 MiB', { memoryMiB: 63 }, 'memoryMiB', />=64/],
  ['33 networks', { nics: Array.from({ length: 33 }, () => nic) }, 'nics', /Too big/],
  ['an unknown preallocation', { preallocation: 'thick' }, 'preallocation', /thin|allowed/],
  ['an empty storage pool', { storageName: '' }, 'storageName', /Too small/],
  ['a path that is none', { path: 'elsewhere' }, 'path', /'original' or 'new'/],
  ['MAC addresses on a new path', { keepMac: true }, 'keepMac', /only a restore with path 'original'/],
  ['MAC addresses by a word', { keepMac: 'yes' }, 'keepMac', /boolean/],
  ['power on by a word', { powerOn: 'yes' }, 'powerOn', /boolean/],
  ['overwriting by a word', { overwrite: 'yes' }, 'overwrite', /boolean/],
  ['an option that is not there', { keepIp: true }, 'keepIp', /not known here/],
];

describe('F4: what the API takes of a restore', () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await testGateway();
    gateway.services.on(previewRestore, examples.restorePreview);
  });
  afterAll(() => gateway.stop());

  const post = (url: string, payload: object) =>
    gateway.app.inject({ method: 'POST', url: `/api/v1${url}`, headers: bearer('operator'), payload });
  const preview = (change: object) =>
    post('/restores/preview', { ...examples.restoreRequest, definition: { ...definition, ...change } });
  const [item] = definition.items;
  const forAll = (fields: object) => ({ defaults: { ...definition.defaults, ...fields } });
  const forOne = (fields: object) => ({ items: [{ ...item, target: fields }] });
  const errorsOf = (body: string): Problem['errors'] => (JSON.parse(body) as Problem).errors;

  it.each(taken)('takes %s', async (_, fields) => {
    for (const change of [forAll(fields), forOne(fields)])
      expect((await preview(change)).statusCode).toBe(200);
    expect(gateway.services.last(previewRestore)?.definition.items[0]?.target).toEqual(fields);
  });

  it.each(refused)('refuses %s by its name', async (_, fields, name, rule) => {
    for (const [change, field] of [
      [forAll(fields), `definition.defaults.${name}`],
      [forOne(fields), `definition.items.0.target.${name}`],
    ] as const) {
      const response = await preview(change);
      expect(response.statusCode).toBe(400);
      const errors = errorsOf(response.body) ?? [];
      expect(errors.map((error) => error.field)).toEqual([field]);
      expect(errors[0]?.rule).toMatch(rule);
    }
  });

  it.each([
    ['a name for all', { vmName: 'same' }, 'vmName'],
    ['volumes for all', { volumes: [volume] }, 'volumes'],
    ['a prefix of 33', { vmNamePrefix: 'x'.repeat(33) }, 'vmNamePrefix'],
    ['a suffix with a blank', { vmNameSuffix: ' 2' }, 'vmNameSuffix'],
  ])('refuses %s', async (_, fields, name) => {
    const response = await preview(forAll(fields));
    const field = `definition.defaults.${name}`;
    expect(errorsOf(response.body)).toEqual([expect.objectContaining({ field })]);
  });

  it('takes prefix and suffix of 32, and one VM’s own name and volumes', async () => {
    const parts = { vmNamePrefix: 'x'.repeat(32), vmNameSuffix: 'y'.repeat(32) };
    expect((await preview(forAll(parts))).statusCode).toBe(200);
    expect((await preview(forOne({ vmName: 'own', volumes: [volume] }))).statusCode).toBe(200);
  });

  it('F3: takes the original path, with what follows from it left unsaid', async () => {
    const asked = { path: 'original', keepMac: true, powerOn: true };
    const pointId = examples.ids.point;
    expect((await preview({ defaults: undefined, items: [{ pointId, target: asked }] })).statusCode).toBe(
      200,
    );
    expect(gateway.services.last(previewRestore)?.definition.items[0]?.target).toEqual(asked);
    expect((await preview({ defaults: asked, items: [{ pointId }] })).statusCode).toBe(200);
    const both = await preview({
      defaults: undefined,
      items: [{ pointId, target: { ...asked, vmName: 'own' } }],
    });
    const field = 'definition.items.0.target.vmName';
    const rule = expect.stringMatching(/\(F3\)/) as string;
    expect(errorsOf(both.body)).toEqual([expect.objectContaining({ field, rule })]);
  });

  it('leaves open what nobody says', async () => {
    await preview({ defaults: undefined, items: [{ pointId: examples.ids.point }] });
    const asked = gateway.services.last(previewRestore);
    expect(asked?.definition).toMatchObject({ items: [{ target: {} }], parallel: { vms: 2, vmsPerHost: 1 } });
    expect(asked?.definition).not.toHaveProperty('defaults');
  });

  it('F6: previews restores alone, and hands the code over with the job', async () => {
    const backup = await post('/restores/preview', {
      ...examples.restoreRequest,
      definition: examples.job.definition,
    });
    expect(backup.statusCode).toBe(400);
    gateway.services.on(createJob, { ...examples.job, name: examples.restoreRequest.name });
    const { code } = examples.restorePreview.confirmation;
    expect((await post('/jobs', { ...examples.restoreRequest, confirmation: code })).statusCode).toBe(201);
    expect(gateway.services.last(createJob)?.confirmation).toBe(code);
    expect((await post('/jobs', { ...examples.restoreRequest, confirmation: '' })).statusCode).toBe(400);
  });
});
