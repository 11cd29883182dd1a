import {
  createJob,
  deleteJob,
  findBackupJob,
  getRun,
  listJobs,
  newId,
  previewBackup,
  previewRestore,
  updateJob,
  type HostId,
  type Job,
  type JobId,
  type PlatformId,
  type Point,
  type PointId,
  type RestorePreview,
  type RunId,
  type VmId,
} from '@casvault/contracts';
import { randomBytes } from 'node:crypto';
import { type z } from 'zod';
import { Confirmations } from '../src/confirmations.js';
import { RunningScheduler } from './running-scheduler.js';

type Asked = z.input<typeof previewRestore.request>;

describe('F4, F6: restores over NATS and Postgres', () => {
  let scheduler: RunningScheduler;
  beforeAll(async () => {
    scheduler = await RunningScheduler.start();
  });
  afterAll(() => scheduler.stop());

  const place = { platformId: newId<PlatformId>(), hostId: newId<HostId>(), storageName: 'local' };
  const pointOf = (vmName = 'db', fields: Partial<Point> = {}): PointId => {
    const { peers } = scheduler;
    const id = newId<PointId>();
    const point = { id, state: 'available', vmId: peers.vm(), vmName, ...pointDefaults, ...fields };
    peers.points.set(id, point as Point);
    return id;
  };
  const asking = (definition: object, plan: 'immediate' | 'manual' = 'immediate'): Asked =>
    ({
      name: 'restore',
      definition: { kind: 'restore', ...definition },
      plans: [plan === 'manual' ? { type: 'once', at: '2099-01-01T00:00' } : { type: plan }],
    }) as Asked;
  const one = (fields: object = {}): Asked =>
    asking({
      items: [{ pointId: pointOf(), target: { ...place, vmName: `vm-${newId()}`.slice(0, 30), ...fields } }],
    });
  const preview = (asked: Asked, actor = 'anna'): Promise<RestorePreview> =>
    scheduler.client.request(previewRestore, asked, { actor });
  const codeOf = async (asked: Asked, actor?: string): Promise<string> => {
    const { confirmation, ...told } = await preview(asked, actor);
    if (confirmation === null) throw new Error(`refused: ${JSON.stringify(told)}`);
    return confirmation.code;
  };
  const submit = (asked: Asked, confirmation?: string, id = newId<JobId>(), actor = 'anna'): Promise<Job> =>
    scheduler.client.request(createJob, { ...asked, id, confirmation }, { actor });
  const jobs = async (): Promise<number> =>
    (await scheduler.client.request(listJobs, { limit: 500 })).items.length;

  it('F6: is submitted with the code of its preview, once', async () => {
    const asked = one();
    const code = await codeOf(asked);
    const id = newId<JobId>();
    const job = await submit(asked, code, id);
    expect(job).toMatchObject({ id, definition: { kind: 'restore' } });
    expect(job).not.toHaveProperty('confirmation');
    // The same submission, as after a lost answer.
    expect((await submit(asked, code, id)).lastRunId).toBe(job.lastRunId);
    await expect(submit(asked, code)).rejects.toMatchObject({
      code: 'CONFLICT',
      details: { field: 'confirmation', reason: 'used', jobId: id },
    });
  });

  it('F6: is refused without a code, with one of somebody else, of another request, or an expired one', async () => {
    const asked = one();
    const before = await jobs();
    const refused = (reason: string) => ({ details: { field: 'confirmation', reason } });
    await expect(submit(asked)).rejects.toMatchObject(refused('missing'));
    await expect(submit(asked, 'AAAA-BBBB-CCCC')).rejects.toMatchObject(refused('unknown'));
    await expect(submit(asked, await codeOf(asked, 'berta'))).rejects.toMatchObject(refused('unknown'));
    const other = { ...asked, name: 'another' };
    await expect(submit(asked, await codeOf(other))).rejects.toMatchObject(refused('other-request'));
    await expect(submit(asked, await expiredCode(asked))).rejects.toMatchObject(refused('expired'));
    expect(await jobs()).toBe(before);
    const backup = { kind: 'backup', vmIds: [scheduler.peers.vm()], poolId: scheduler.peers.pool() };
    const needless = { ...asked, definition: backup } as unknown as Asked;
    await expect(submit(needless, 'AAAA-BBBB-CCCC')).rejects.toMatchObject(refused('needless'));
  });

  /** As issued an hour ago. */
  const expiredCode = async (asked: Asked): Promise<string> => {
    const database = await scheduler.openDatabase();
    const clock = { now: () => new Date(new Date().getTime() - 3_600_000) };
    const codes = new Confirmations({ database, clock, random: randomBytes });
    const { code } = await codes.issue(previewRestore.request.parse(asked), 'anna');
    await database.destroy();
    return code;
  };

  it('F6: of many that submit with one code at once, over two replicas, one makes its job', async () => {
    const replica = await scheduler.replica();
    const asked = one();
    const code = await codeOf(asked);
    const before = await jobs();
    const ids = Array.from({ length: 8 }, () => newId<JobId>());
    const submissions = ids.flatMap((id) => [submit(asked, code, id), submit(asked, code, id)]);
    const made = (await Promise.allSettled(submissions)).flatMap((outcome) =>
      outcome.status === 'fulfilled' ? [outcome.value] : [],
    );
    expect(new Set(made.map(({ id }) => id)).size).toBe(1);
    expect(new Set(made.map(({ lastRunId }) => lastRunId)).size).toBe(1);
    expect(await jobs()).toBe(before + 1);
    await replica.stop();
  });

  it('F6: an edit of a restore takes a code of its own', async () => {
    const asked = asking({ items: one().definition.items }, 'manual');
    const job = await submit(asked, await codeOf(asked));
    const changed = { ...asked, name: 'changed' };
    const edit = (confirmation?: string) =>
      scheduler.client.request(
        updateJob,
        { ...changed, jobId: job.id, version: job.version, confirmation },
        { actor: 'anna' },
      );
    await expect(edit()).rejects.toMatchObject({ details: { reason: 'missing' } });
    const code = await codeOf(changed);
    expect(await edit(code)).toMatchObject({ version: 2, name: 'changed' });
    expect(await edit(code)).toMatchObject({ version: 2 });
  });

  it('cbt.fallback: a backup that skips VMs silently is saved and edited with its code alone', async () => {
    const { peers, client } = scheduler;
    const actor = 'anna';
    const vmIds = [peers.vm()];
    const asked = (fallback: 'full' | 'skip-silent', name = 'silent') => ({
      name,
      definition: { kind: 'backup' as const, vmIds, poolId: peers.pool(), cbt: { fallback } },
      plans: [{ type: 'manual' as const }],
    });
    const save = (request: ReturnType<typeof asked>, confirmation?: string) =>
      client.request(createJob, { ...request, id: newId<JobId>(), confirmation }, { actor });
    const told = (request: ReturnType<typeof asked>) => client.request(previewBackup, request, { actor });
    const silent = asked('skip-silent');
    const refused = (reason: string) => ({ details: { field: 'confirmation', reason } });
    await expect(save(silent)).rejects.toMatchObject(refused('missing'));
    const { notices, confirmation } = await told(silent);
    expect(notices).toEqual(['SKIPS_SILENTLY']);
    const code = confirmation?.code ?? '';
    await expect(save({ ...silent, name: 'another' }, code)).rejects.toMatchObject(refused('other-request'));
    const job = await save(silent, code);
    await expect(save(silent, code)).rejects.toMatchObject(refused('used'));
    const edit = (confirmed?: string) =>
      client.request(
        updateJob,
        { ...silent, name: 'edited', jobId: job.id, version: 1, confirmation: confirmed },
        { actor },
      );
    await expect(edit()).rejects.toMatchObject(refused('missing'));
    const again = await told({ ...silent, name: 'edited' });
    expect(await edit(again.confirmation?.code)).toMatchObject({ version: 2 });
    const loud = asked('full');
    expect(await told(loud)).toEqual({ notices: [], confirmation: null });
    await expect(save(loud, code)).rejects.toMatchObject(refused('needless'));
    expect(await save(loud)).toMatchObject({ definition: { cbt: { fallback: 'full' } } });
  });

  it('S8: knows the backup job that protects a VM', async () => {
    const { peers, client } = scheduler;
    const [vmId, other] = [peers.vm(), peers.vm()];
    const hostId = newId<HostId>();
    const definition = { kind: 'backup' as const, vmIds: [vmId], poolId: peers.pool() };
    const id = newId<JobId>();
    await client.request(createJob, { id, name: 'protects', definition, plans: [{ type: 'manual' }] });
    const find = (of: VmId) => client.request(findBackupJob, { vmId: of, hostId });
    expect(await find(vmId)).toEqual({ job: { id, name: 'protects' } });
    expect(await find(other)).toEqual({ job: null });
    await client.request(deleteJob, { jobId: id });
    expect(await find(vmId)).toEqual({ job: null });
    const host = peers.host();
    const inside = peers.vm(host);
    const whole = { ...definition, vmIds: [], hostIds: [host], excludedVmIds: [vmId] };
    const ofHost = newId<JobId>();
    await client.request(createJob, {
      id: ofHost,
      name: 'whole host',
      definition: whole,
      plans: [{ type: 'manual' }],
    });
    const onHost = (of: VmId) => client.request(findBackupJob, { vmId: of, hostId: host });
    expect(await onHost(inside)).toEqual({ job: { id: ofHost, name: 'whole host' } });
    expect([await onHost(vmId), await find(inside)]).toEqual([{ job: null }, { job: null }]);
  });

  it('F4: previews settings in batch and singly, and makes the VMs as previewed', async () => {
    const definition = {
      defaults: { ...place, vmNamePrefix: 'new-', memoryMiB: 512, preallocation: 'lazy-zeroed' },
      items: [
        { pointId: pointOf('db') },
        { pointId: pointOf('web'), target: { vmName: 'www', memoryMiB: 256, storageName: 'fast' } },
      ],
    };
    const asked = asking(definition);
    const told = await preview(asked);
    expect(
      told.items.map(({ sourceVmName, target, outline, refusals, notices }) => [
        sourceVmName,
        target,
        outline?.memoryMiB,
        refusals,
        notices,
      ]),
    ).toEqual([
      [
        'db',
        { ...place, vmName: 'new-db', memoryMiB: 512, preallocation: 'lazy-zeroed' },
        512,
        [],
        ['MAY_CLASH'],
      ],
      [
        'web',
        { ...place, storageName: 'fast', vmName: 'www', memoryMiB: 256, preallocation: 'lazy-zeroed' },
        256,
        [],
        ['MAY_CLASH'],
      ],
    ]);
    const job = await submit(asked, told.confirmation?.code);
    const run = await scheduler.client.request(getRun, { runId: job.lastRunId as RunId });
    expect(run.items.map(({ vmName }) => vmName)).toEqual(['new-db', 'www']);
    const asks = await scheduler.peers.askedFor(run.id, 2);
    expect(asks.map(({ target }) => target).sort(byName)).toEqual(
      told.items.map(({ target }) => ({ ...target, powerOn: false })).sort(byName),
    );
  });

  it('F3: leads to where the VM of the point is, and refuses one that was never known', async () => {
    const { peers } = scheduler;
    const vm = peers.vms.get(peers.vm());
    if (vm === undefined) throw new Error('no VM');
    const there = pointOf('as it was called then', { vmId: vm.id });
    const asked = asking({ defaults: { path: 'original', keepMac: true }, items: [{ pointId: there }] });
    const told = await preview(asked);
    const target = {
      path: 'original',
      keepMac: true,
      platformId: vm.platformId,
      hostId: vm.hostId,
      storageName: 'local',
      vmName: vm.name,
    };
    expect(told.items).toMatchObject([{ target, refusals: [] }]);
    const job = await submit(asked, told.confirmation?.code);
    const [item] = await peers.askedFor(job.lastRunId ?? '', 1);
    expect(item?.target).toEqual({ ...target, powerOn: false });
    const unknown = pointOf('db', { vmId: newId<VmId>() });
    const refused = await preview(asking({ items: [{ pointId: unknown, target: { path: 'original' } }] }));
    expect([refused.confirmation, refused.items[0]?.refusals]).toMatchObject([
      null,
      [{ code: 'VM_NOT_FOUND', details: { field: 'definition.items.0.target.path' } }],
    ]);
  });

  it('F4: previews every refusal of every VM, by field, and gives no code', async () => {
    const { peers } = scheduler;
    const full = {
      code: 'INPUT_INVALID' as const,
      message: 'storageName: no room',
      details: { field: 'storageName' },
    };
    peers.refusals = [{ ...full, details: { ...full.details, vmName: 'full' } }];
    const gone = newId<PointId>();
    const told = await preview(
      asking({
        items: [
          { pointId: pointOf(), target: { ...place, vmName: 'full' } },
          { pointId: gone, target: { ...place, vmName: 'gone' } },
          { pointId: pointOf('db', { state: 'failed' }), target: { ...place, vmName: 'failed' } },
          { pointId: pointOf(), target: { ...place, vmName: 'full' } },
        ],
      }),
    );
    peers.refusals = [];
    expect(told.confirmation).toBeNull();
    expect(told.items.map(({ refusals }) => refusals.map(({ details }) => details['field']))).toEqual([
      ['definition.items.0.target.storageName'],
      ['definition.items.1.pointId'],
      ['definition.items.2.pointId'],
      ['definition.items.3.target.storageName', 'definition.items.3.target.vmName'],
    ]);
    const late = { ...one(), plans: [{ type: 'once', at: '2001-01-01T00:00' }] } as Asked;
    expect(await preview(late)).toMatchObject({
      confirmation: null,
      refusals: [{ details: { field: 'plans.0.at' } }],
    });
  });

  it('F4: proposes where the source VM is, and still refuses what names no place', async () => {
    const { peers } = scheduler;
    const pointId = pointOf('db');
    const vm = peers.vms.get(peers.points.get(pointId)?.vmId ?? '');
    const asked = asking({ items: [{ pointId, target: { vmName: 'again', storageName: 'local' } }] });
    const told = await preview(asked);
    expect(told.confirmation).toBeNull();
    expect(told.items[0]).toMatchObject({
      target: { platformId: vm?.platformId, hostId: vm?.hostId, storageName: 'local' },
      outline: { cpuCount: 1 },
    });
    expect(told.items[0]?.refusals.map(({ details }) => details['field'])).toEqual([
      'definition.items.0.target.platformId',
      'definition.items.0.target.hostId',
    ]);
    await expect(submit(asked)).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      details: { field: 'definition.items.0.target.platformId' },
    });
  });
});

const byName = (
  a: { vmName?: string | undefined } | null,
  b: { vmName?: string | undefined } | null,
): number => ((a?.vmName ?? '') < (b?.vmName ?? '') ? -1 : 1);

const pointDefaults: Omit<Point, 'id' | 'state' | 'vmId' | 'vmName'> = {
  chainId: newId(),
  parentPointId: null,
  kind: 'full',
  platformId: newId(),
  poolId: newId(),
  runId: newId(),
  createdAt: '2026-01-01T00:00:00.000Z',
  capturedAt: '2026-01-01T00:00:00.000Z',
  availableAt: null,
  method: 'live',
  consistency: 'crash',
  excludedDisks: [],
  poolBytes: 0,
  disks: [],
  reasons: [],
  fault: null,
  hold: null,
  verification: null,
  copyOf: null,
};
