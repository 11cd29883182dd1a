import {
  newId,
  transferOptionsSchema,
  type BackupHostId,
  type Clock,
  type Pool,
  type TransferId,
  type TransferOptions,
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

const sizeBytes = 96 * mib;
const dataBytes = 48 * mib;
const slow = 8 * mib;
const overheadBytes = 2 * mib;

/** A worker in this process, with its own way to each of its neighbours. */
class CutWorld {
  readonly logger = new TestLogger();
  readonly #stopping = new AbortController();
  readonly #resting = new RestingThreads({ max: 2 });
  readonly diskProxies: TcpProxy[] = [];
  #worker: TransferWorker | null = null;
  #client: MessagingClient | null = null;

  private constructor(
    readonly world: WorkerWorld,
    readonly rgw: CephRgw,
    readonly nats: TcpProxy,
    readonly store: TcpProxy,
    readonly dir: TempDir,
  ) {}

  static async start(): Promise<CutWorld> {
    const world = await WorkerWorld.start();
    const dir = await tempDir('cuts');
    const rgw = await startCephRgw({ dir: dir.path });
    await rgw.createBucket('pools');
    const nats = await startTcpProxy(Number(new URL(world.nats.url).port));
    const store = await startTcpProxy(Number(new URL(rgw.endpoint).port));
    const cuts = new CutWorld(world, rgw, nats, store, dir);
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
      transfers: 1,
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
    for (const proxy of [...this.diskProxies, this.nats, this.store]) await proxy.stop();
    await this.rgw.stop();
    await this.world.stop();
    await this.dir.remove();
  }

  /** A pool of its own in the bucket. */
  pool(): Pool {
    const { accessKeyId, secretKey } = this.rgw;
    return {
      ...this.world.pool,
      type: 'object',
      location: {
        kind: 's3',
        endpoint: `http://127.0.0.1:${this.store.port}`,
        region: 'us-east-1',
        bucket: 'pools',
        prefix: newId(),
        accessKeyId,
        secretKey: this.world.sealer.seal(secretKey),
        forcePathStyle: true,
      },
    };
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

  /** A leg is cut for so many seconds of the worker's time. */
  async cut(leg: 'disk' | 'pool' | 'nats', count: number): Promise<void> {
    const proxies = leg === 'disk' ? this.diskProxies : [leg === 'pool' ? this.store : this.nats];
    for (const proxy of proxies) proxy.cut();
    await seconds(count);
    for (const proxy of proxies) proxy.mend();
  }
}

const optionsOf = (options: z.input<typeof transferOptionsSchema>): TransferOptions =>
  transferOptionsSchema.parse(options);

describe('a connection that is cut', () => {
  let cuts: CutWorld;
  let world: WorkerWorld;
  let image: string;
  beforeAll(async () => {
    cuts = await CutWorld.start();
    world = cuts.world;
    image = await world.image(sizeBytes, dataBytes);
  }, 120_000);
  afterAll(() => cuts.stop());

  const moved = (transferId: TransferId): number =>
    world.controller
      .state(transferId)
      .progress.reduce((sum, { doneBytes, resumedBytes }) => sum + doneBytes + resumedBytes, 0);

  const beginBackup = (options: z.input<typeof transferOptionsSchema>) => {
    world.disks.bytesPerSecond = slow;
    const spec = world.backupSpec([image], { pool: cuts.pool(), options: optionsOf(options) });
    const sentBefore = cuts.store.sentBytes;
    return { spec, transferId: world.controller.begin(spec), sent: () => cuts.store.sentBytes - sentBefore };
  };
  const reaches = (transferId: TransferId, bytes: number) => until(() => moved(transferId) >= bytes, 60_000);

  const expectRestored = async (spec: ReturnType<typeof beginBackup>['spec']): Promise<void> => {
    world.disks.bytesPerSecond = 0;
    const path = await world.volume(sizeBytes);
    const restore = { ...world.restoreSpec(spec, [{ path, sizeBytes }]), pool: spec.pool };
    await world.controller.reaches(world.controller.begin(restore), 'succeeded');
    expect(await world.compare(image, path)).toBe('');
  };

  it('for 1 s or 30 s, on each leg of a backup, costs no more than the resume buffer each time', async () => {
    const bufferMiB = 10;
    const { spec, transferId, sent } = beginBackup({ reconnect: { minutes: 10, bufferMiB } });
    await reaches(transferId, 8 * mib);
    for (const count of [1, 30])
      for (const leg of ['disk', 'pool', 'nats'] as const) {
        const before = moved(transferId);
        await cuts.cut(leg, count);
        await until(
          () => moved(transferId) > before || world.controller.state(transferId).state !== 'running',
        );
      }
    const { result, epoch } = await world.controller.reaches(transferId, 'succeeded', 90_000);
    const { doneBytes, resumedBytes } = result!.disks[0]!;
    expect(doneBytes + resumedBytes).toBe(dataBytes);
    expect(resumedBytes).toBeGreaterThan(0);
    expect(epoch).toBe(1);
    expect(sent() - (await cuts.storedBytes(spec.pool))).toBeLessThan(6 * bufferMiB * mib + overheadBytes);
    await expectRestored(spec);
  }, 120_000);

  it.each(['disk', 'pool'] as const)(
    'for 5 min, to the %s, is taken up where it stopped',
    async (leg) => {
      const bufferMiB = 4;
      const { spec, transferId, sent } = beginBackup({ reconnect: { minutes: 10, bufferMiB } });
      await reaches(transferId, 16 * mib);
      await cuts.cut(leg, 300);
      const { result, epoch, recaptures } = await world.controller.reaches(transferId, 'succeeded', 90_000);
      const { doneBytes, resumedBytes } = result!.disks[0]!;
      expect(doneBytes + resumedBytes).toBe(dataBytes);
      expect(resumedBytes).toBeGreaterThan(8 * mib);
      expect({ epoch, recaptures }).toEqual({ epoch: 1, recaptures: 0 });
      const resent = sent() - (await cuts.storedBytes(spec.pool));
      expect(resent).toBeLessThan(bufferMiB * mib + overheadBytes);
      await expectRestored(spec);
    },
    120_000,
  );

  it('to NATS for 5 min: the transfer is claimed anew and goes on with its packs', async () => {
    const { spec, transferId } = beginBackup({});
    await reaches(transferId, 16 * mib);
    await cuts.cut('nats', 300);
    const { result, epoch } = await world.controller.reaches(transferId, 'succeeded', 90_000);
    const { doneBytes, resumedBytes } = result!.disks[0]!;
    expect(doneBytes + resumedBytes).toBe(dataBytes);
    expect(resumedBytes).toBeGreaterThan(8 * mib);
    expect(epoch).toBeGreaterThan(1);
    await expectRestored(spec);
  }, 120_000);

  it.each([
    ['disk', 'NBD_DISCONNECTED'],
    ['pool', 'POOL_UNREACHABLE'],
  ] as const)(
    'to the %s for longer than reconnect.minutes fails with the reason',
    async (leg, code) => {
      const { transferId } = beginBackup({ reconnect: { minutes: 1 } });
      await reaches(transferId, 8 * mib);
      const cut = cuts.cut(leg, 420);
      const { fault } = await world.controller.reaches(transferId, 'failed', 60_000);
      await cut;
      expect(fault?.code).toBe(code);
      expect(fault?.message).toContain('given up after 1 min (reconnect.minutes)');
    },
    120_000,
  );

  it('in a restore costs what was under way, and nothing is written twice besides', async () => {
    const bufferMiB = 4;
    const { spec, transferId: backup } = beginBackup({});
    world.disks.bytesPerSecond = 0;
    await world.controller.reaches(backup, 'succeeded', 60_000);
    world.disks.bytesPerSecond = slow;
    const path = await world.volume(sizeBytes);
    const restore = {
      ...world.restoreSpec(spec, [{ path, sizeBytes }]),
      pool: spec.pool,
      options: optionsOf({ reconnect: { bufferMiB } }),
    };
    const fetchedBefore = cuts.store.receivedBytes;
    const transferId = world.controller.begin(restore);
    for (const [leg, at] of [
      ['disk', 8 * mib],
      ['disk', 20 * mib],
      ['pool', 32 * mib],
    ] as const) {
      await reaches(transferId, at);
      await cuts.cut(leg, 30);
    }
    const { result } = await world.controller.reaches(transferId, 'succeeded', 90_000);
    const { doneBytes, resumedBytes } = result!.disks[0]!;
    expect(doneBytes + resumedBytes).toBe(dataBytes);
    expect(resumedBytes).toBeGreaterThan(8 * mib);
    const written = cuts.diskProxies.at(-1)!.sentBytes;
    expect(written - dataBytes).toBeLessThan(3 * bufferMiB * mib + overheadBytes);
    const stored = await cuts.storedBytes(spec.pool);
    expect(cuts.store.receivedBytes - fetchedBefore - stored).toBeLessThan(
      3 * bufferMiB * mib + overheadBytes,
    );
    expect(await world.compare(image, path)).toBe('');
  }, 120_000);

  it('before the disk service was ever reached, for longer than transport.connectMinutes, fails with the reason', async () => {
    const { transferId } = await beginUnreachable();
    const { fault } = await world.controller.reaches(transferId, 'failed', 30_000);
    expect(fault).toMatchObject({ code: 'DISK_SERVICE_UNREACHABLE' });
    expect(fault?.message).toContain('given up after 1 min (transport.connectMinutes)');
  }, 60_000);

  const beginUnreachable = async () => {
    const spec = world.backupSpec([image], {
      options: optionsOf({ transport: { connectMinutes: 1 }, reconnect: { minutes: 60 } }),
    });
    const nobody = await startTcpProxy(1);
    await nobody.stop();
    const diskService = { ...spec.diskService, url: `http://127.0.0.1:${nobody.port}` };
    return { transferId: world.controller.begin({ ...spec, diskService }) };
  };
});
