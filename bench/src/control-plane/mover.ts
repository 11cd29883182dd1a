import {
  claimTransfer,
  Fault,
  finishTransfer,
  newId,
  renewTransfer,
  reportBackupHost,
  type BackupHostId,
  type BackupSpec,
  type DiskProgress,
  type Logger,
  type TransferId,
  type TransferResult,
} from '@casvault/contracts';
import { MessagingClient, WorkQueue } from '@casvault/messaging';
import { SeededRandom } from '../random.js';
import { pause } from './pause.js';

/** As real movers do. */
const times = { beatMs: 10_000, tellMs: 2_000, graceMs: 1_000 } as const;
const dirtyShare = 0.03;

export interface MoverOptions {
  readonly natsUrl: string;
  readonly number: number;
  /** How long a transfer takes, at least and at most. */
  readonly transferMs: readonly [number, number];
  readonly logger: Logger;
}

/**
 * A backup host that moves no bytes: it reports itself, takes nudges, claims, tells of a capture and of progress, and finishes each
 * backup as succeeded when its time is over, by the contracts of workers and on a connection of its own. Memory: one transfer.
 */
export class SimulatedMover {
  readonly #options: MoverOptions;
  readonly #client: MessagingClient;
  readonly #id = newId<BackupHostId>();
  readonly #random: SeededRandom;
  readonly #stopping = new AbortController();
  #work: Promise<unknown> = Promise.resolve();

  private constructor(options: MoverOptions, client: MessagingClient) {
    this.#options = options;
    this.#client = client;
    this.#random = new SeededRandom(options.number);
  }

  /** Returns when inventory knows of it. */
  static async start(options: MoverOptions): Promise<SimulatedMover> {
    const { natsUrl: url, logger, number } = options;
    const client = await MessagingClient.connect({ url, service: `simulated-mover-${number}`, logger });
    const mover = new SimulatedMover(options, client);
    await mover.#report();
    mover.#work = Promise.all([mover.#beat(), mover.#consume()]);
    return mover;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#work;
    await this.#client.close();
  }

  async #consume(): Promise<void> {
    const { signal } = this.#stopping;
    await new WorkQueue(this.#client).consume(
      'default',
      { signal, maxInFlight: 1, graceMs: times.graceMs },
      ({ transferId }) => this.#carryOut(transferId),
    );
  }

  async #report(): Promise<void> {
    const name = `simulated-mover-${this.#options.number}`;
    const place = { group: 'default', address: '127.0.0.1', timeZone: 'UTC', version: '0.1.0' };
    await this.#client.request(reportBackupHost, { id: this.#id, name, ...place, contentUrl: null });
  }

  async #beat(): Promise<void> {
    while (await pause(times.beatMs, this.#stopping.signal))
      await this.#report().catch((error: unknown) =>
        this.#options.logger.warn({ err: error }, 'heartbeat not heard'),
      );
  }

  async #carryOut(transferId: TransferId): Promise<void> {
    const claim = await this.#client.request(claimTransfer, { transferId, workerId: this.#id });
    if (claim.outcome === 'declined') return;
    const { epoch, spec } = claim;
    if (spec.kind !== 'backup') throw new Fault('BUG', `no backup: ${spec.kind}`);
    const capturedAt = new Date().toISOString();
    const method = spec.quiesceSeconds === null ? ('offline' as const) : ('live' as const);
    const tell = (share: number) =>
      this.#client.request(renewTransfer, {
        transferId,
        epoch,
        capturedAt,
        method,
        progress: progressOf(spec, share),
      });
    await tell(0);
    const totalMs = this.#random.between(...this.#options.transferMs);
    for (let leftMs = totalMs; leftMs > 0; leftMs -= times.tellMs) {
      if (!(await pause(Math.min(leftMs, times.tellMs), this.#stopping.signal))) return;
      if (leftMs > times.tellMs) await tell(1 - (leftMs - times.tellMs) / totalMs);
    }
    const result = resultOf(spec, capturedAt, method);
    await this.#client.request(finishTransfer, {
      transferId,
      epoch,
      outcome: { state: 'succeeded', result },
    });
  }
}

const progressOf = ({ disks }: BackupSpec, share: number): DiskProgress[] =>
  disks.map(({ target, sizeBytes }) => {
    const totalBytes = Math.round(sizeBytes * dirtyShare);
    const doneBytes = Math.round(totalBytes * share);
    return { target, totalBytes, doneBytes, storedBytes: Math.round(doneBytes / 2), resumedBytes: 0 };
  });

function resultOf(spec: BackupSpec, capturedAt: string, method: 'live' | 'offline'): TransferResult {
  const disks = progressOf(spec, 1).map((disk, index) => ({
    ...disk,
    sizeBytes: spec.disks[index]?.sizeBytes ?? 0,
    mapRoot: '0'.repeat(64),
    reasons: [],
    tracked: false,
  }));
  const poolBytes = disks.reduce((sum, { storedBytes }) => sum + storedBytes, 0);
  return { disks, poolBytes, capturedAt, method, consistency: 'crash', reasons: [] };
}
