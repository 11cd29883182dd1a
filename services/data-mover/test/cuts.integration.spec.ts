import {
  newId,
  transferOptionsSchema,
  type BackupHostId,
  type BackupSpec,
  type Clock,
  type Pool,
  type TransferId,
} from '@casvault/contracts';
import { RestingThreads } from '@casvault/data-path';
import { MessagingClient } from '@casvault/messaging';
import { openObjectStore } from '@casvault/object-store';
import {
  startCephRgw,
  startTcpProxy,
  tempDir,
  testClock,
  TestLogger,
  until,
  type CephRgw,
  type TcpProxy,
  type TempDir,
} from '@casvault/testkit';
import { type z } from 'zod';
import { Paces } from '../src/worker/paces.js';
import { TransferWorker } from '../src/worker/transfer-worker.js';
import { WorkerMetrics } from '../src/worker/worker-metrics.js';
import { mib, WorkerWorld } from './worker-world.js';

/** Time passes so much faster for the worker: a minute is two seconds. */
const scale = 30;
const scaled: Clock = { now: () => new Date(), sleep: (ms, signal) => testClock.sleep(ms / scale, signal) };
const monotonic = (): number => performance.now() * scale;
const seconds = (count: number): Promise<void> => scaled.sleep(count * 1_000);

const sizeBytes = 64 * mib;
const dataBytes = 32 * mib;
/** Progress is told late on a busy machine: what is cut must be under way for longer than that. */
const slow = 2 * mib;
const overheadBytes = 2 * mib;

/** A worker in this process, with its own way to each of its neighbours. */
class CutWorld {
  readonly logger = new TestLogger();
  readonly #stopping = new AbortController();
  readonly #resting = new RestingThreads({ max: 4 });
  /** In the order in which disks were opened, and pools made. */
  readonly diskProxies: TcpProxy[] = [];
  readonly poolProxies: TcpProxy[] = [];
  #worker: TransferWorker | null = null;
  #client: MessagingClient | null = null;

  private constructor(
    readonly world: WorkerWorld,
    readonly rgw: CephRgw,
    readonly nats: TcpProxy,
    readonly dir: TempDir,
  ) {}

  static async start(): Promise<CutWorld> {
    const world = await WorkerWorld.start();
    const dir = await tempDir('cuts');
    const rgw = await startCephRgw({ dir: dir.path });
    await rgw.createBucket('pools');
    const nats = await startTcpProxy(Number(new URL(world.nats.url).port));
    const cuts = new CutWorld(world, rgw, nats, dir);
    world.disks.through = async (port) => {
      const proxy = await startTcpProxy(port);
      cuts.diskProxies.push(proxy);
      return proxy.port;
    };
    await cuts.#start();
    return cuts;
  }

  async #start(): Promise<void> {
    const url = `nats://127.0.0.1:${this.nats.port}`;
    const client = await MessagingClient.connect({ url, service: 'data-mover', logger: this.logger });
    this.#client = client;
    const request = client.request.bind(client);
    // What waits for an answer waits as fast as the rest.
    client.request = (query, payload, options = {}) =>
      request(query, payload, { ...options, deadlineMs: (options.deadlineMs ?? 10_000) / scale });
    this.#worker = new TransferWorker({
      workerId: newId<BackupHostId>(),
      group: 'default',
      transfers: 2,
      tools: {
        client,
        unseal: (sealed) => this.world.sealer.open(sealed),
        clock: scaled,
        monotonic,
        logger: this.logger,
        diskTls: {},
        resting: this.#resting,
        paces: new Paces({ clock: scaled, monotonic, timeZone: 'UTC', logger: this.logger }),
        logs: null,
        hookHost: { scripts: null, name: 'mover' },
        version: '0.0.0',
      },
      metrics: new WorkerMetrics(),
      stopping: this.#stopping.signal,
      drainMs: 1_000,
    });
    this.#worker.start();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#worker?.drain();
    await this.#resting.close();
    await this.#client?.close();
    for (const proxy of [...this.diskProxies, ...this.poolProxies, this.nats]) await proxy.stop();
    await this.rgw.stop();
    await this.world.stop();
    await this.dir.remove();
  }

  /** A pool of its own in the bucket, with a way of its own. */
  async pool(): Promise<{ readonly pool: Pool; readonly way: TcpProxy }> {
    const { accessKeyId, secretKey } = this.rgw;
    const way = await startTcpProxy(Number(new URL(this.rgw.endpoint).port));
    this.poolProxies.push(way);
    const pool: Pool = {
      ...this.world.pool,
      type: 'object',
      location: {
        kind: 's3',
        endpoint: `http://127.0.0.1:${way.port}`,
        region: 'us-east-1',
        bucket: 'pools',
        prefix: newId(),
        accessKeyId,
        secretKey: this.world.sealer.seal(secretKey),
        forcePathStyle: true,
      },
    };
    return { pool, way };
  }

  async storedBytes({ location }: Pool): Promise<number> {
    if (location.kind !== 's3') throw new Error('no bucket');
    const store = openObjectStore({
      ...location,
      endpoint: this.rgw.endpoint,
      secretKey: this.rgw.secretKey,
    });
    let sum = 0;
    for await (const { sizeBytes: bytes } of store.list('')) sum += bytes;
    await store.close();
    return sum;
  }
}

/** For so many seconds of the worker's time. */
const cutFor = async (way: TcpProxy, count: number): Promise<void> => {
  way.cut();
  await seconds(count);
  way.mend();
};

describe('a connection that is cut', () => {
  let cuts: CutWorld;
  let world: WorkerWorld;
  let image: string;
  beforeAll(async () => {
    cuts = await CutWorld.start();
    world = cuts.world;
    image = await world.image(sizeBytes, dataBytes);
  });
  afterAll(() => cuts.stop());

  const moved = (transferId: TransferId): number =>
    world.controller
      .state(transferId)
      .progress.reduce((sum, { doneBytes, resumedBytes }) => sum + doneBytes + resumedBytes, 0);

  interface Backup {
    readonly spec: BackupSpec;
    readonly transferId: TransferId;
    readonly disk: TcpProxy;
    readonly pool: TcpProxy;
    /** Sent to the pool and not there: what was sent again, and what was said besides. */
    readonly resent: () => Promise<number>;
  }

  /** A slow backup that has `behind` bytes behind it. */
  const backUp = async (
    options: z.input<typeof transferOptionsSchema>,
    behind = 8 * mib,
  ): Promise<Backup> => {
    world.disks.bytesPerSecond = slow;
    const { pool, way } = await cuts.pool();
    const spec = world.backupSpec([image], { pool, options: transferOptionsSchema.parse(options) });
    const opened = cuts.diskProxies.length;
    const transferId = world.controller.begin(spec);
    await reaches(transferId, behind);
    const disk = cuts.diskProxies[opened]!;
    const resent = async () => way.sentBytes - (await cuts.storedBytes(pool));
    return { spec, transferId, disk, pool: way, resent };
  };
  const reaches = (transferId: TransferId, bytes: number) => until(() => moved(transferId) >= bytes);

  /** It succeeded by what it took over, and comes back. */
  const expectResumed = async ({ spec, transferId }: Backup, resumed: number): Promise<void> => {
    const { result } = await world.controller.reaches(transferId, 'succeeded', 90_000);
    const { doneBytes, resumedBytes } = result!.disks[0]!;
    expect(doneBytes + resumedBytes).toBe(dataBytes);
    expect(resumedBytes).toBeGreaterThan(resumed);
    world.disks.bytesPerSecond = 0;
    const path = await world.volume(sizeBytes);
    const restore = { ...world.restoreSpec(spec, [{ path, sizeBytes }]), pool: spec.pool };
    await world.controller.reaches(world.controller.begin(restore), 'succeeded');
    expect(await world.compare(image, path)).toBe('');
  };

  it('for 1 s or 30 s, on each leg of a backup, costs no more than the resume buffer each time', async () => {
    const bufferMiB = 10;
    const backup = await backUp({ reconnect: { minutes: 10, bufferMiB } });
    const { transferId } = backup;
    // Of the later ones more is behind it than the buffer holds: what is durable is gone on with.
    let behind = 8 * mib;
    for (const count of [1, 30])
      for (const way of [backup.disk, backup.pool, cuts.nats]) {
        await reaches(transferId, behind);
        await cutFor(way, count);
        behind += 3 * mib;
      }
    await expectResumed(backup, 0);
    // Time passes thirty times as fast here: a machine that halts for three seconds loses the claim, but never the capture.
    expect(world.controller.state(transferId).recaptures).toBe(0);
    expect(await backup.resent()).toBeLessThan(6 * bufferMiB * mib + overheadBytes);
  });

  it('for 5 min, to the disk of one and the pool of another, is taken up where it stopped', async () => {
    const bufferMiB = 4;
    const options = { reconnect: { minutes: 10, bufferMiB } };
    const one = await backUp(options, 16 * mib);
    const cut = cutFor(one.disk, 300);
    const other = await backUp(options, 16 * mib);
    await cutFor(other.pool, 300);
    await cut;
    for (const backup of [one, other]) {
      await expectResumed(backup, 4 * mib);
      expect(world.controller.state(backup.transferId).recaptures).toBe(0);
      const resent = (await backup.resent()) / mib;
      expect(resent).toBeLessThan(bufferMiB + overheadBytes / mib);
    }
  });

  it('to NATS for 5 min: the transfer is claimed anew and goes on with its packs', async () => {
    const backup = await backUp({}, 16 * mib);
    await cutFor(cuts.nats, 300);
    await expectResumed(backup, 4 * mib);
    expect(world.controller.state(backup.transferId).epoch).toBeGreaterThan(1);
  });

  it('for longer than reconnect.minutes fails with the reason', async () => {
    const options = { reconnect: { minutes: 1 } };
    const one = await backUp(options);
    one.disk.cut();
    const other = await backUp(options);
    other.pool.cut();
    for (const [{ transferId }, code] of [
      [one, 'NBD_DISCONNECTED'],
      [other, 'POOL_UNREACHABLE'],
    ] as const) {
      const { fault } = await world.controller.reaches(transferId, 'failed');
      expect(fault?.code).toBe(code);
      expect(fault?.message).toContain('given up after 1 min (reconnect.minutes)');
    }
  });

  it('in a restore costs what was under way, and nothing is written twice besides', async () => {
    const bufferMiB = 4;
    const { spec, transferId: backup, pool } = await backUp({}, 0);
    await world.controller.reaches(backup, 'succeeded');
    const path = await world.volume(sizeBytes);
    const restore = {
      ...world.restoreSpec(spec, [{ path, sizeBytes }]),
      pool: spec.pool,
      options: transferOptionsSchema.parse({ reconnect: { bufferMiB } }),
    };
    const fetchedBefore = pool.receivedBytes;
    const opened = cuts.diskProxies.length;
    const transferId = world.controller.begin(restore);
    await until(() => cuts.diskProxies.length > opened);
    const disk = cuts.diskProxies[opened]!;
    for (const [way, at] of [
      [disk, 4 * mib],
      [disk, 12 * mib],
      [pool, 20 * mib],
    ] as const) {
      await reaches(transferId, at);
      await cutFor(way, 30);
    }
    const { result } = await world.controller.reaches(transferId, 'succeeded', 90_000);
    const { doneBytes, resumedBytes } = result!.disks[0]!;
    expect(doneBytes + resumedBytes).toBe(dataBytes);
    expect(resumedBytes).toBeGreaterThan(4 * mib);
    const buffers = 3 * bufferMiB * mib;
    expect(disk.sentBytes - dataBytes).toBeLessThan(buffers + overheadBytes);
    const stored = await cuts.storedBytes(spec.pool);
    // As much again had been read ahead.
    expect(pool.receivedBytes - fetchedBefore - stored).toBeLessThan(2 * buffers + overheadBytes);
    expect(await world.compare(image, path)).toBe('');
  });

  it('before the disk service was ever reached, for longer than transport.connectMinutes, fails with the reason', async () => {
    const options = { transport: { connectMinutes: 1 }, reconnect: { minutes: 60 } };
    const spec = world.backupSpec([image], { options: transferOptionsSchema.parse(options) });
    const nobody = await startTcpProxy(1);
    await nobody.stop();
    const diskService = { ...spec.diskService, url: `http://127.0.0.1:${nobody.port}` };
    const transferId = world.controller.begin({ ...spec, diskService });
    const { fault } = await world.controller.reaches(transferId, 'failed');
    expect(fault).toMatchObject({ code: 'DISK_SERVICE_UNREACHABLE' });
    expect(fault?.message).toContain('given up after 1 min (transport.connectMinutes)');
  });
});
