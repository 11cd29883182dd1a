import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  claimTransfer,
  Fault,
  finishTransfer,
  newId,
  nextWriter,
  renewTransfer,
  replaceOpening,
  reportBackupHost,
  trackingSchema,
  transferOptionsSchema,
  type BackupHost,
  type BackupSpec,
  type ChainId,
  type CopySpec,
  type DiskId,
  type OpeningId,
  type PointId,
  type Pool,
  type PoolId,
  type RemovalSpec,
  type RestoreSpec,
  type RollbackSpec,
  type TransferId,
  type WorkSpec,
  type VerifySpec,
  type VmId,
  type WriterId,
} from '@casvault/contracts';
import { WorkQueue } from '@casvault/messaging';
import { ScriptedService } from '@casvault/messaging/testing';
import { createSealer, type Sealer } from '@casvault/service-host';
import {
  spawnService,
  startNats,
  tempDir,
  TestLogger,
  until,
  type NatsServer,
  type RunningProcess,
  type TempDir,
} from '@casvault/testkit';
import { transferMachine, type TransferEvent } from '../src/controller/transfer.machine.js';
import { type TransferState } from '../src/controller/transfer.js';
import { PlayedDiskService, virtualSize } from './worker-disk-service.js';

const run = promisify(execFile);
const main = fileURLToPath(new URL('../src/main.js', import.meta.url));
export const mib = 1 << 20;

/** The controller's own machine in memory, behind the real transport. */
export class PlayedController {
  readonly transfers = new Map<string, TransferState>();
  /** Called, and waited for, before a renewal is answered. */
  onRenew: (transferId: TransferId, epoch: number) => void | Promise<void> = () => undefined;
  /** Called before a reported end is taken; what it throws is the answer. */
  onFinish: () => void = () => undefined;
  readonly reported: Omit<BackupHost, 'state' | 'lastSeenAt'>[] = [];
  #services: ScriptedService[] = [];
  #timer: NodeJS.Timeout | null = null;

  static async start(url: string): Promise<PlayedController> {
    const controller = new PlayedController();
    await controller.up(url);
    return controller;
  }

  async up(url: string): Promise<void> {
    const logger = new TestLogger();
    const mover = await ScriptedService.start({ url, logger, service: 'data-mover' }, ({ query }) => {
      query(claimTransfer, ({ transferId, workerId }) => this.#claim(transferId, workerId));
      query(renewTransfer, async ({ transferId, ...renewal }) => {
        await this.onRenew(transferId, renewal.epoch);
        const { stopAsked } = this.deliver(transferId, { type: 'renew', ...renewal });
        return { verdict: stopAsked ? ('stop' as const) : ('go on' as const), leaseSeconds: 15 };
      });
      query(nextWriter, ({ transferId, epoch }) => {
        const writerId = newId<WriterId>();
        const { writers } = this.deliver(transferId, { type: 'nextWriter', epoch, writerId });
        return { writerId, earlierWriters: [...writers] };
      });
      query(replaceOpening, ({ transferId, ...request }) => {
        const minted = { openingId: newId<OpeningId>(), writerId: newId<WriterId>() };
        const state = this.deliver(transferId, { type: 'replaceOpening', ...request, ...minted });
        return { openingId: state.openingId!, writerId: state.claim!.writerId };
      });
      query(finishTransfer, ({ transferId, ...end }) => {
        this.onFinish();
        this.deliver(transferId, { type: 'finish', ...end });
        return {};
      });
    });
    const inventory = await ScriptedService.start({ url, logger, service: 'inventory' }, ({ query }) => {
      query(reportBackupHost, (report) => {
        this.reported.push(report);
        return {};
      });
    });
    this.#services = [mover, inventory];
    this.#timer = setInterval(() => {
      const now = new Date();
      for (const [id, state] of this.transfers) {
        const { wakeAt } = transferMachine.step(state, { type: 'woken' }, new Date(0));
        if (wakeAt && wakeAt <= now) this.deliver(id as TransferId, { type: 'woken' });
      }
    }, 200);
  }

  /** Says nothing any more until it is up again; what it knows stays. */
  async down(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    for (const service of this.#services.splice(0)) await service.stop();
  }

  deliver(transferId: TransferId, event: TransferEvent): TransferState {
    const { state, effects } = transferMachine.step(
      this.transfers.get(transferId) ?? null,
      event,
      new Date(),
    );
    this.transfers.set(transferId, state);
    const [mover] = this.#services;
    for (const effect of effects)
      if (effect.type === 'nudge' && mover)
        void new WorkQueue(mover.client)
          .publishNudge(effect.group, transferId, newId(), effect.isHook ? 'hooks' : 'transfers')
          .catch(() => undefined);
    return state;
  }

  begin(spec: WorkSpec): TransferId {
    const transferId = newId<TransferId>();
    const request = { transferId, ownerId: newId(), group: 'default', spec };
    this.deliver(transferId, { type: 'start', request });
    return transferId;
  }

  state(transferId: TransferId): TransferState {
    return this.transfers.get(transferId)!;
  }

  async reaches(
    transferId: TransferId,
    name: TransferState['state'],
    timeoutMs = 60_000,
  ): Promise<TransferState> {
    try {
      return await until(() => {
        const state = this.state(transferId);
        return state.state === name ? state : null;
      }, timeoutMs);
    } catch (error) {
      const { request: _request, ...state } = this.state(transferId);
      throw new Error(`is ${JSON.stringify(state)}`, { cause: error });
    }
  }

  /** Read or taken over so far, by the last renewal. */
  moved(transferId: TransferId): number {
    return this.state(transferId).progress.reduce((sum, disk) => sum + disk.doneBytes, 0);
  }

  #claim(
    transferId: TransferId,
    workerId: TransferState['claim'] extends infer C
      ? NonNullable<C> extends { workerId: infer W }
        ? W
        : never
      : never,
  ) {
    if (!this.transfers.has(transferId)) throw new Fault('NOT_FOUND', 'no such transfer');
    const writerId = newId<WriterId>();
    const openingId = newId<OpeningId>();
    const state = this.deliver(transferId, { type: 'claim', workerId, writerId, openingId });
    if (state.claim?.writerId !== writerId) return { outcome: 'declined' as const, state: state.state };
    return {
      outcome: 'claimed' as const,
      epoch: state.epoch,
      leaseSeconds: 15,
      writerId,
      openingId: state.openingId!,
      capturedAt: state.capturedAt,
      earlierWriters: [...state.writers],
      spec: state.request.spec,
    };
  }
}

/** NATS, a played controller and disk service, images in a directory, and workers as processes of their own. */
export class WorkerWorld {
  readonly workers: RunningProcess[] = [];
  readonly sealingKey = randomBytes(32).toString('base64');
  readonly sealer: Sealer = createSealer(this.sealingKey);
  readonly pool: Pool;
  #images = 0;

  private constructor(
    readonly nats: NatsServer,
    readonly controller: PlayedController,
    readonly disks: PlayedDiskService,
    readonly dir: TempDir,
  ) {
    this.pool = {
      id: newId<PoolId>(),
      name: 'pool',
      type: 'standard',
      location: { kind: 'fs', path: join(dir.path, 'pool') },
      createdAt: '2026-01-01T00:00:00.000Z',
    };
  }

  static async start(): Promise<WorkerWorld> {
    const nats = await startNats();
    const controller = await PlayedController.start(nats.url);
    const dir = await tempDir('worker');
    await mkdir(join(dir.path, 'pool'));
    return new WorkerWorld(nats, controller, await PlayedDiskService.start(), dir);
  }

  async stop(): Promise<void> {
    for (const worker of this.workers) await worker.kill9();
    await this.controller.down();
    await this.disks.stop();
    await this.nats[Symbol.asyncDispose]();
    await this.dir.remove();
  }

  async worker(name: string, env: Record<string, string> = {}): Promise<RunningProcess> {
    const worker = spawnService(main, {
      env: {
        CASVAULT_DATA_MOVER_ROLE: 'worker',
        CASVAULT_DATA_MOVER_NAME: name,
        CASVAULT_NATS_URL: this.nats.url,
        CASVAULT_SEALING_KEY: this.sealingKey,
        CASVAULT_LOG_LEVEL: 'debug',
        ...env,
      },
    });
    this.workers.push(worker);
    await worker.sees(/service started/);
    return worker;
  }

  get output(): string {
    return this.workers.map(({ output }) => output).join('\n');
  }

  /** A qcow2 image with random data in every second MiB up to `dataBytes`, zeros between and behind. */
  async image(sizeBytes: number, dataBytes: number): Promise<string> {
    this.#images += 1;
    const raw = join(this.dir.path, `disk${this.#images}.raw`);
    const file = await open(raw, 'w');
    try {
      await file.truncate(sizeBytes);
      for (let at = 0; at < dataBytes * 2 && at < sizeBytes; at += 2 * mib)
        await file.write(randomBytes(Math.min(mib, sizeBytes - at)), 0, undefined, at);
    } finally {
      await file.close();
    }
    const path = raw.replace('.raw', '.qcow2');
    await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, path]);
    return path;
  }

  /** An empty volume as a platform makes it: in whole MiB. */
  async volume(sizeBytes: number, format: 'qcow2' | 'raw' = 'qcow2'): Promise<string> {
    this.#images += 1;
    const path = join(this.dir.path, `volume${this.#images}.${format}`);
    await run('qemu-img', ['create', '-q', '-f', format, path, String(sizeBytes)]);
    return path;
  }

  /** What differs between two images, '' for nothing: neither a byte nor the size. */
  async compare(a: string, b: string): Promise<string> {
    const sizes = [await virtualSize(a), await virtualSize(b)];
    if (sizes[0] !== sizes[1]) return `sizes ${sizes.join(' and ')}`;
    const formatOf = (path: string) => (path.endsWith('.raw') ? 'raw' : 'qcow2');
    const args = ['compare', '-f', formatOf(a), '-F', formatOf(b), a, b];
    try {
      const { stdout } = await run('qemu-img', args);
      return stdout.includes('identical') ? '' : stdout;
    } catch (error) {
      return (error as { stdout: string }).stdout;
    }
  }

  get #diskService() {
    return { url: this.disks.url, token: this.sealer.seal(this.disks.token) };
  }

  backupSpec(images: readonly string[], more: Partial<BackupSpec> = {}): BackupSpec {
    return {
      kind: 'backup',
      pointId: newId<PointId>(),
      chainId: newId<ChainId>(),
      pointKind: 'full',
      parentPointId: null,
      pool: this.pool,
      vm: { vmId: newId<VmId>(), uuid: newId(), name: 'db', platformName: 'lab', platformVersion: 'E0760' },
      configuration: { cpu: 2 },
      diskService: this.#diskService,
      disks: images.map((path, i) => ({
        target: `vd${'abcdef'.charAt(i)}`,
        path,
        diskId: newId<DiskId>(),
        role: i === 0 ? ('system' as const) : ('data' as const),
        bus: 'virtio',
        format: 'qcow2' as const,
        sizeBytes: mib,
      })),
      excludedDisks: [],
      tracking: trackingSchema.parse({}),
      quiesceSeconds: null,
      snapshot: null,
      options: transferOptionsSchema.parse({}),
      ...more,
    };
  }

  restoreSpec(
    point: Pick<BackupSpec, 'pointId' | 'chainId'>,
    volumes: readonly { path: string; sizeBytes: number }[],
  ): RestoreSpec {
    return {
      kind: 'restore',
      pointId: point.pointId,
      chainId: point.chainId,
      pool: this.pool,
      diskService: this.#diskService,
      disks: volumes.map(({ path, sizeBytes }, i) => ({
        target: `vd${'abcdef'.charAt(i)}`,
        path,
        format: path.endsWith('.raw') ? ('raw' as const) : ('qcow2' as const),
        sizeBytes,
      })),
      options: transferOptionsSchema.parse({}),
    };
  }

  /** Of images that are rolled back in place. */
  rollbackSpec(
    point: Pick<BackupSpec, 'pointId' | 'chainId'>,
    images: readonly { path: string; sizeBytes: number }[],
  ): RollbackSpec {
    return { ...this.restoreSpec(point, images), kind: 'rollback', since: null };
  }

  removalSpec(point: Pick<BackupSpec, 'pointId' | 'chainId'>, writers: WriterId[]): RemovalSpec {
    const { pointId, chainId } = point;
    return { kind: 'removal', pointIds: [pointId], chainId, pool: this.pool, dryRun: false, writers };
  }

  verifySpec(point: Pick<BackupSpec, 'pointId' | 'chainId'>, depth: VerifySpec['depth']): VerifySpec {
    return { kind: 'verify', pointId: point.pointId, chainId: point.chainId, pool: this.pool, depth };
  }

  /** Beside the first one. */
  async otherPool(): Promise<Pool> {
    const path = join(this.dir.path, 'other-pool');
    await mkdir(path, { recursive: true });
    return { ...this.pool, id: newId<PoolId>(), name: 'other', location: { kind: 'fs', path } };
  }

  copySpec(
    point: Pick<BackupSpec, 'pointId' | 'chainId'>,
    { pointId, chainId }: Pick<BackupSpec, 'pointId' | 'chainId'>,
    pool: Pool,
  ): CopySpec {
    const source = { pointId: point.pointId, chainId: point.chainId, sincePointId: null, pool: this.pool };
    const options = transferOptionsSchema.parse({});
    return { kind: 'copy', pointId, chainId, parentPointId: null, pool, source, options };
  }

  /** Brings a point back and compares it; '' for no difference. */
  async restored(
    point: Pick<BackupSpec, 'pointId' | 'chainId'>,
    image: string,
    sizeBytes: number,
    pool = this.pool,
  ): Promise<string> {
    const path = await this.volume(Math.ceil(sizeBytes / mib) * mib);
    const volumes = [{ path, sizeBytes: Math.ceil(sizeBytes / mib) * mib }];
    const spec = { ...this.restoreSpec(point, volumes), pool };
    await this.controller.reaches(this.controller.begin(spec), 'succeeded');
    return this.compare(image, path);
  }

  get #poolPath(): string {
    return join(this.dir.path, 'pool');
  }

  /** As a mount that went. */
  async movePoolAway(): Promise<{ back: () => Promise<void> }> {
    const path = this.#poolPath;
    await rename(path, `${path}.away`);
    return { back: () => rename(`${path}.away`, path) };
  }

  /** The pool's objects below a folder. */
  async objects(folder: string): Promise<string[]> {
    const root = this.#poolPath;
    const found = await readdir(join(root, folder), { recursive: true, withFileTypes: true }).catch(() => []);
    return found.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  }
}
