import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type HostId,
  type NewJobBody,
  type Point,
  type RestorePreview,
  type RunDetail,
  type Vm,
} from '@casvault/contracts';
import { allocatedBytes, sameDisk } from '@casvault/stack';
import { CasClient } from '@casvault/cas-client';
import { until } from '@casvault/testkit';
import { writeAsGuest } from './history/guest-io.js';
import { expectSucceeded, MiB, pointOf, startWorld, type World } from './world.js';

const names = ['alpha', 'beta', 'gamma'] as const;
type Name = (typeof names)[number];

/** What the CVM is asked for of each VM of the job; by the name of its source. */
const wanted = {
  alpha: { host: 1, storage: 'defaultpool', cpus: 1, cores: 1, memoryMiB: 192, isThin: true, cards: [] },
  beta: {
    host: 2,
    storage: 'defaultpool',
    cpus: 2,
    cores: 2,
    memoryMiB: 128,
    isThin: false,
    cards: ['vswitch0 2 e1000'],
  },
  gamma: {
    host: 2,
    storage: 'isopool',
    cpus: 2,
    cores: 1,
    memoryMiB: 160,
    isThin: false,
    cards: ['vswitch0 1 virtio', 'vswitch0 2 virtio'],
  },
};

/** F4-F6 over all services: one job for many VMs, each with its own settings, submitted with the code of its preview. */
describe('F4, F6, E7, E8: restores of many VMs in one job, copies and a verification of their points', () => {
  let world: World;
  const vms = new Map<Name, Vm>();
  const points = new Map<Name, Point>();
  let hosts: Map<string, HostId>;

  beforeAll(async () => {
    const disks = [{ sizeBytes: 24 * MiB }];
    world = await startWorld('restore-jobs', {
      vms: names.map((name, index) => ({ name, host: (index % 2) + 1, disks, guest: 'idle' as const })),
    });
    const { api } = world.trial;
    hosts = new Map((await api.listHosts(world.platform.id)).map(({ externalId, id }) => [externalId, id]));
    const { id: poolId } = await world.trial.standardPool('restore-jobs');
    for (const [index, name] of names.entries()) {
      const vm = await world.trial.vm(world.platform, name);
      vms.set(name, vm);
      await write(name, index, 0x51 + index);
      points.set(name, await pointOf(world, expectSucceeded(await world.trial.backUp(vm, poolId))));
    }
    // A second point of the first VM: the job takes its first one.
    await write('alpha', 4, 0x77);
    expectSucceeded(await world.trial.backUp(vmOf('alpha'), poolId));
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const vmOf = (name: Name): Vm => vms.get(name) ?? missing(name);
  const pointFrom = (name: Name): Point => points.get(name) ?? missing(name);
  const hostOf = (externalId: number): HostId =>
    hosts.get(String(externalId)) ?? missing(`host ${externalId}`);
  const write = async (name: Name, place: number, pattern: number): Promise<void> => {
    const vm = vmOf(name);
    const host = world.trial.lab.hosts.find(({ id }) => hostOf(id) === vm.hostId) ?? missing(vm.hostName);
    await writeAsGuest(host, vm.uuid, 0, [{ offset: place * MiB + 512, length: 2 * MiB, pattern }]);
  };
  const cvm = async <T>(work: (client: CasClient) => Promise<T>): Promise<T> => {
    const { address, port, user: userName, password } = world.trial.lab.cvm;
    const client = new CasClient({ address, port, userName, password, ssl: false, sslIgnoreErrors: false });
    try {
      return await work(client);
    } finally {
      client.close();
    }
  };

  const jobOf = (prefix: string): NewJobBody => ({
    name: `restore ${prefix}`,
    definition: {
      kind: 'restore',
      defaults: {
        platformId: world.platform.id,
        hostId: hostOf(2),
        storageName: 'defaultpool',
        vmNamePrefix: prefix,
        cpuCount: 2,
        nics: [{ switchName: 'vswitch0', profileName: 'vlan100', model: 'e1000' }],
      },
      items: [
        {
          pointId: pointFrom('alpha').id,
          target: { hostId: hostOf(1), cpuCount: 1, memoryMiB: 192, nics: [] },
        },
        {
          pointId: pointFrom('beta').id,
          target: { coresPerSocket: 2, memoryMiB: 128, preallocation: 'lazy-zeroed', powerOn: true },
        },
        {
          pointId: pointFrom('gamma').id,
          target: {
            storageName: 'isopool',
            preallocation: 'eager-zeroed',
            nics: [
              { switchName: 'vswitch0', profileName: null, model: 'virtio' },
              { switchName: 'vswitch0', profileName: 'vlan100', model: 'virtio' },
            ],
          },
        },
      ],
      parallel: { vms: 2, vmsPerHost: 2 },
    },
    plans: [{ type: 'immediate' }],
  });
  const preview = ({ name, definition, plans }: NewJobBody): Promise<RestorePreview> =>
    world.trial.api.previewRestore({ name, definition, plans } as never);
  const submit = async (job: NewJobBody): Promise<RunDetail['id']> => {
    const { lastRunId } = await world.trial.api.createJob(await world.trial.api.confirmed(job));
    return lastRunId ?? missing('the run');
  };
  const inLab = async (name: string) => (await world.trial.lab.admin.vms()).find((vm) => vm.name === name);
  const loose = async () => {
    const found: string[] = [];
    for (const { id } of world.trial.lab.hosts)
      found.push(...(await world.trial.lab.admin.leftovers(id)).looseVolumes);
    return found;
  };

  const expectAsAsked = async (prefix: string, name: Name): Promise<void> => {
    const asked = wanted[name];
    const vm = (await inLab(`${prefix}${name}`)) ?? missing(`${prefix}${name}`);
    const [disk] = vm.disks;
    if (disk === undefined) return missing(`the disk of ${vm.name}`);
    const { detail, configuration } = await cvm((client) => client.vm(String(vm.id)));
    expect(configuration).toMatchObject({
      cpu: { cpuSockets: asked.cpus / asked.cores, cpuCores: asked.cores },
      memory: { size: asked.memoryMiB },
    });
    expect([vm.hostId, vm.state]).toEqual([asked.host, name === 'beta' ? 'running' : 'shutOff']);
    expect(disk.path).toContain(`/${asked.storage}/`);
    const cards = detail.nics.map(({ switchName, profileExternalId, model }) =>
      [switchName, profileExternalId, model].join(' '),
    );
    expect(cards).toEqual(asked.cards);
    const allocated = await allocatedBytes(disk.path);
    if (asked.isThin) expect(allocated).toBeLessThan(16 * MiB);
    else expect(allocated).toBeGreaterThanOrEqual(24 * MiB);
    const reference = (await world.trial.referenceOf(pointFrom(name))).get('vda') ?? '';
    expect([name, await sameDisk({ path: reference, format: 'raw' }, disk)]).toEqual([name, true]);
  };

  it('F4: each VM has the bytes of its point and is as asked for, singly and in batch', async () => {
    const job = jobOf('all-');
    const told = await preview(job);
    expect(told.items.map(({ refusals }) => refusals)).toEqual([[], [], []]);
    expect(
      told.items.map(({ target, outline }) => [target.vmName, outline?.cpuCount, outline?.memoryMiB]),
    ).toEqual([
      ['all-alpha', 1, 192],
      ['all-beta', 2, 128],
      ['all-gamma', 2, vmOf('gamma').memoryMiB],
    ]);
    // S6: the sources are still there; the first has no network to clash on.
    expect(told.items.map(({ notices }) => notices.includes('MAY_CLASH'))).toEqual([false, true, true]);
    const run = expectSucceeded(await world.trial.api.watchRun(await submit(job), () => undefined));
    expect(run.items).toHaveLength(3);
    for (const name of names) await expectAsAsked('all-', name);
    expect(await loose()).toEqual([]);
  });

  it('F6: is refused without a code, and with one of another request', async () => {
    const job = jobOf('unconfirmed-');
    const { confirmation } = await preview(job);
    const submitWith = (code?: string) =>
      world.trial.api.createJob({
        ...job,
        name: 'other',
        ...(code === undefined ? {} : { confirmation: code }),
      });
    for (const code of [undefined, confirmation?.code])
      await expect(submitWith(code)).rejects.toMatchObject({
        problem: { code: 'INPUT_INVALID', errors: [{ field: 'confirmation' }] },
      });
    expect(await inLab('unconfirmed-alpha')).toBeUndefined();
  });

  it('F4: every refusal is told before submission, by field', async () => {
    const { definition, ...job } = jobOf('all-');
    if (definition.kind !== 'restore') return missing('the restore');
    const defaults = { ...definition.defaults, storageName: 'nowhere' };
    const told = await preview({ ...job, definition: { ...definition, defaults } });
    expect(told.confirmation).toBeNull();
    const fields = told.items.map(({ refusals }) => refusals.map(({ details }) => details['field']));
    const field = (index: number, name: string) => `definition.items.${index}.target.${name}`;
    expect(fields).toEqual([
      [field(0, 'vmName'), field(0, 'storageName')],
      [field(1, 'vmName'), field(1, 'storageName')],
      [field(2, 'vmName')],
    ]);
  });

  it('F4: a VM whose storage pool vanishes in between leaves nothing behind, and the others succeed', async () => {
    const before = (await world.trial.lab.admin.vms()).length;
    const confirmed = await world.trial.api.confirmed(jobOf('partly-'));
    await world.trial.lab.admin.activatePool(2, 'isopool', false);
    const { lastRunId } = await world.trial.api.createJob(confirmed);
    const run = await world.trial.api.watchRun(lastRunId ?? missing('the run'), () => undefined);
    expect(run.state).toBe('partly failed');
    expect(run.items.map(({ state }) => state)).toEqual(['succeeded', 'succeeded', 'failed']);
    expect(run.items[2]?.fault).toMatchObject({ details: { field: 'storageName' } });
    expect(await inLab('partly-gamma')).toBeUndefined();
    expect((await world.trial.lab.admin.vms()).length).toBe(before + 2);
    expect(await loose()).toEqual([]);
    await expectAsAsked('partly-', 'alpha');
  });

  it('S8: overwrites a VM of that name, which keeps its own disks beside it; a protected one is refused', async () => {
    const before = (await inLab('partly-alpha')) ?? missing('partly-alpha');
    const overwriting = (vmName: string): NewJobBody => ({
      name: `overwrite ${vmName}`,
      definition: {
        kind: 'restore',
        defaults: {
          platformId: world.platform.id,
          hostId: hostOf(1),
          storageName: 'defaultpool',
          overwrite: true,
        },
        items: [{ pointId: pointFrom('gamma').id, target: { vmName } }],
      },
      plans: [{ type: 'immediate' }],
    });
    await world.trial.api.syncPlatform(world.platform.id);
    const [refused] = (await preview(overwriting('alpha'))).items;
    expect(refused?.refusals[0]?.message).toMatch(/VM alpha has backup points.*\(S8\)/);
    const job = overwriting('partly-alpha');
    expect((await preview(job)).items[0]?.notices).toContain('OVERWRITES_VM');
    expectSucceeded(await world.trial.api.watchRun(await submit(job), () => undefined));
    const after = (await inLab('partly-alpha')) ?? missing('partly-alpha');
    expect([after.uuid, after.disks.map(({ target }) => target)]).toEqual([before.uuid, ['vda']]);
    const reference = (await world.trial.referenceOf(pointFrom('gamma'))).get('vda') ?? '';
    expect(await sameDisk({ path: reference, format: 'raw' }, after.disks[0] ?? missing('its disk'))).toBe(
      true,
    );
    expect(await loose()).toEqual(before.disks.map(({ path }) => path));
  });

  it('F3, keepMac: brings a deleted VM back in its place, and its backups go on with a full', async () => {
    const { api, lab } = world.trial;
    const vm = vmOf('gamma');
    const { id } = (await inLab('gamma')) ?? missing('gamma');
    await lab.admin.power(id, 'powerOff');
    await lab.admin.deleteVm(id);
    await api.syncPlatform(world.platform.id);
    const job: NewJobBody = {
      name: 'gamma in its place',
      definition: {
        kind: 'restore',
        items: [{ pointId: pointFrom('gamma').id, target: { path: 'original', keepMac: true } }],
      },
      plans: [{ type: 'immediate' }],
    };
    const [told] = (await preview(job)).items;
    expect(told).toMatchObject({
      target: { path: 'original', hostId: vm.hostId, storageName: 'defaultpool', vmName: 'gamma' },
      refusals: [],
      notices: ['ORIGINAL_MADE_ANEW', 'MAC_KEPT'],
    });
    const run = expectSucceeded(await api.watchRun(await submit(job), () => undefined));
    expect(run.items[0]?.restoredVmId).toBe(vm.id);
    const after = (await inLab('gamma')) ?? missing('gamma');
    const reference = (await world.trial.referenceOf(pointFrom('gamma'))).get('vda') ?? '';
    const disk = after.disks[0] ?? missing('its disk');
    expect(await sameDisk({ path: reference, format: 'raw' }, disk)).toBe(true);
    const { detail } = await cvm((client) => client.vm(String(after.id)));
    expect(detail).toMatchObject({ cpuCount: vm.cpuCount, memoryMiB: vm.memoryMiB });
    expect(detail.nics.map(({ mac }) => mac)).toEqual(vm.nics.map(({ mac }) => mac));
    const { poolId } = pointFrom('gamma');
    const next = await pointOf(world, expectSucceeded(await world.trial.backUp(vm, poolId)));
    expect([next.kind, next.reasons.includes('RESTORED_SINCE')]).toEqual(['full', true]);
  });

  it('E7: a copy job copies the points of a VM to another pool, and a restore reads from the pool that it names', async () => {
    const { api } = world.trial;
    const { id: pointId, vmId, poolId: sourcePoolId } = pointFrom('alpha');
    const points = (await api.listPoints({ state: 'available' })).filter((point) => point.vmId === vmId);
    const { id: poolId } = await world.trial.standardPool('restore-jobs-copies');
    const copying = { kind: 'copy', sourcePoolId, poolId, vmIds: [vmId] };
    const ended = () => undefined;
    const copied = expectSucceeded(await world.trial.runJob(copying, 'to the second pool', ended));
    expect([copied.kind, copied.items.length]).toEqual(['copy', points.length]);
    const { definition, ...job } = jobOf('copied-');
    if (definition.kind !== 'restore') return missing('the restore');
    const items = [{ ...(definition.items[0] ?? missing('its item')), poolId }];
    const run = await submit({ ...job, definition: { ...definition, items } });
    const [item] = expectSucceeded(await api.watchRun(run, ended)).items;
    const copy = await api.getPoint(item?.pointId ?? missing('the copy'));
    expect(copy).toMatchObject({ poolId, copyOf: pointId, state: 'available' });
    await expectAsAsked('copied-', 'alpha');
  });

  it('E8: a verify job finds every point sound, and after a pack was damaged names those that need it', async () => {
    const { api } = world.trial;
    const { poolId } = pointFrom('alpha');
    const points = (await api.listPoints({ state: 'available' })).filter((point) => point.poolId === poolId);
    const verify = async (name: string) => {
      const runId = await world.trial.startJob({ kind: 'verify', poolId, depth: 'content' }, name);
      return api.watchRun(runId, () => undefined);
    };
    const sound = expectSucceeded(await verify('all is sound'));
    expect(sound.kind).toBe('verify');
    expect(sound.items.map(({ pointId }) => pointId).sort()).toEqual(points.map(({ id }) => id).sort());
    await flipInFirstPack((await world.trial.standardPool('restore-jobs')).path);
    const found = await verify('a pack is damaged');
    expect(found.state).toBe('partly failed');
    const failed = found.items.filter(({ state }) => state === 'failed');
    expect(failed.map(({ fault }) => fault?.code)).toEqual(failed.map(() => 'POOL_OBJECT_DAMAGED'));
    const marks = (await api.listPoints({ state: 'available' })).filter(
      ({ verification }) => verification?.state === 'damaged',
    );
    expect(marks.map(({ id }) => id).sort()).toEqual(failed.map(({ pointId }) => pointId).sort());
    const [alert] = await until(async () => {
      const alerts = await api.listAlerts({ runId: found.id });
      return alerts.length > 0 ? alerts : null;
    });
    expect(alert?.text.en).toMatch(/ of \d+ points failed /);
  });
});

/** In its first frame. */
const flipInFirstPack = async (pool: string): Promise<void> => {
  const files = await readdir(join(pool, 'packs'), { recursive: true });
  const path = join(pool, 'packs', files.find((name) => name.endsWith('/00000000')) ?? missing('a pack'));
  const bytes = await readFile(path);
  bytes[32] = (bytes[32] ?? 0) ^ 0xff;
  await writeFile(path, bytes);
};

const missing = (what: string): never => {
  throw new Error(`${what} is missing`);
};
