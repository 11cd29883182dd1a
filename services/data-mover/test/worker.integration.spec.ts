import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { newId, transferOptionsSchema, type RunId, type TransferId } from '@casvault/contracts';
import { freePort, until } from '@casvault/testkit';
import { mib, WorkerWorld } from './worker-world.js';

const s3Secret = 'object-store-secret-77aa';

describe('a worker of the data-mover', () => {
  let world: WorkerWorld;
  let logs: string;
  beforeAll(async () => {
    world = await WorkerWorld.start();
    logs = join(world.dir.path, 'transfer-logs');
    await world.worker('mover-1', { CASVAULT_DATA_MOVER_TRANSFER_LOGS: logs });
  });
  afterAll(() => world.stop());

  it('registers with its name, group and time zone', async () => {
    const [report] = await until(() =>
      world.controller.reported.length > 0 ? world.controller.reported : null,
    );
    expect(report).toMatchObject({ name: 'mover-1', group: 'default', version: '0.1.0' });
    expect(report?.timeZone).not.toBe('');
  });

  it('carries a VM of two disks there and back, to the byte and to the exact size', async () => {
    const sizes = [24 * mib + 512, 40 * mib];
    const images = [await world.image(sizes[0]!, 6 * mib), await world.image(sizes[1]!, 9 * mib)];
    const spec = world.backupSpec(images);
    const backup = world.controller.begin(spec);
    const { result, capturedAt } = await world.controller.reaches(backup, 'succeeded');
    expect(result?.disks.map(({ target, sizeBytes }) => ({ target, sizeBytes }))).toEqual([
      { target: 'vda', sizeBytes: sizes[0] },
      { target: 'vdb', sizeBytes: sizes[1] },
    ]);
    expect(result?.capturedAt).toBe(capturedAt);
    await until(() => world.disks.openings.size === 0);

    const volumes = [
      { path: await world.volume(25 * mib), sizeBytes: 25 * mib },
      { path: await world.volume(40 * mib, 'raw'), sizeBytes: 40 * mib },
    ];
    const restore = world.controller.begin(world.restoreSpec(spec, volumes));
    await world.controller.reaches(restore, 'succeeded');
    expect(world.disks.openings.size).toBe(0);
    for (const [i, { path }] of volumes.entries()) expect(await world.compare(images[i]!, path)).toBe('');
  });

  it('removes a point, and what the writers of failed attempts left', async () => {
    const spec = world.backupSpec([await world.image(16 * mib, 4 * mib)]);
    const backup = world.controller.begin(spec);
    const { writers } = await world.controller.reaches(backup, 'succeeded');
    const folder = `packs/${spec.chainId}`;
    expect((await world.objects(folder)).length).toBeGreaterThan(0);
    const removal = world.controller.begin(
      world.removalSpec(
        spec,
        writers.map(({ writerId }) => writerId),
      ),
    );
    await world.controller.reaches(removal, 'succeeded');
    expect(await world.objects(folder)).toEqual([]);
    expect(await world.objects(`points/${spec.chainId}`)).toEqual([]);
  });

  it('tells a fault that no retry mends, and leaves nothing open', async () => {
    const spec = world.backupSpec([`${world.dir.path}/none.qcow2`]);
    const failed = await world.controller.reaches(world.controller.begin(spec), 'failed');
    expect(failed.fault?.code).toBe('DISK_SERVICE_REFUSED');
    expect(world.disks.openings.size).toBe(0);
  });

  it('keeps two transfers of one run to the speed of that run', async () => {
    const limit = { from: '00:00', to: '00:00', rate: 4, unit: 'MiB/s', appliesTo: 'disk' } as const;
    const options = transferOptionsSchema.parse({ speedLimit: [limit] });
    const runId = newId<RunId>();
    const specs = [];
    for (let i = 0; i < 2; i += 1)
      specs.push(world.backupSpec([await world.image(16 * mib, 6 * mib)], { options, runId }));
    const began = performance.now();
    const transfers = specs.map((spec) => world.controller.begin(spec));
    for (const transferId of transfers) await world.controller.reaches(transferId, 'succeeded');
    // 12 MiB at 4 MiB/s, but for 0.2 s of it at the beginning.
    expect(performance.now() - began).toBeGreaterThan(2_700);
  });

  it('writes a log of each transfer, from its level on', async () => {
    const logOf = async (transferId: TransferId): Promise<string> => {
      const name = (await readdir(logs)).find((one) => one.includes(transferId));
      return readFile(join(logs, name!), 'utf8');
    };
    const begun = async (logLevel: 'info' | 'warn') => {
      const options = transferOptionsSchema.parse({ transport: { logLevel } });
      const spec = world.backupSpec([await world.image(8 * mib, 2 * mib)], { options });
      const transferId = world.controller.begin(spec);
      await world.controller.reaches(transferId, 'succeeded');
      return transferId;
    };
    const told = await begun('info');
    const text = await until(async () => {
      const found = await logOf(told);
      return found.includes('transfer ended here') && found;
    });
    for (const said of ['transfer claimed', 'capture open', '"port":']) expect(text).toContain(said);
    const quiet = await begun('warn');
    expect(await logOf(quiet)).not.toContain('transfer claimed');
    for (const secret of [world.disks.token, world.sealingKey, 'sealed:v1:'])
      expect(text).not.toContain(secret);
  });

  it('waits for a pool that is away, and can be stopped meanwhile', async () => {
    const location = {
      kind: 's3',
      endpoint: `http://127.0.0.1:${await freePort()}`,
      region: 'us-east-1',
      bucket: 'backups',
      prefix: '',
      accessKeyId: 'casvault',
      secretKey: world.sealer.seal(s3Secret),
      forcePathStyle: true,
    } as const;
    const spec = world.backupSpec([await world.image(8 * mib, 2 * mib)], {
      pool: { ...world.pool, type: 'object', location },
    });
    const transferId = world.controller.begin(spec);
    await world.workers[0]!.sees(/POOL_UNREACHABLE/);
    expect(world.controller.state(transferId)).toMatchObject({ state: 'running', capturedAt: null });
    world.controller.deliver(transferId, { type: 'stop' });
    await world.controller.reaches(transferId, 'stopped', 10_000);
  });

  it('stays small', async () => {
    const status = await readFile(`/proc/${world.workers[0]!.pid}/status`, 'utf8');
    const peakKiB = Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]);
    expect(peakKiB).toBeGreaterThan(0);
    expect(peakKiB / 1024).toBeLessThan(448);
  });

  it('has no secret in its log', () => {
    expect(world.output).toContain('transfer claimed');
    for (const secret of [world.disks.token, world.sealingKey, s3Secret, 'sealed:v1:'])
      expect(world.output).not.toContain(secret);
  });
});
