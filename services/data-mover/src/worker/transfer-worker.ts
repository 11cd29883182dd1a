import { claimTransfer, Fault, type BackupHostId, type TransferId, type WorkSpec } from '@casvault/contracts';
import { WorkQueue } from '@casvault/messaging';
import { ClaimedTransfer } from './claimed-transfer.js';
import { TransferLease } from './transfer-lease.js';
import { both } from './transfer-logs.js';
import { type WorkTools } from './work.js';
import { type WorkerMetrics } from './worker-metrics.js';

export interface TransferWorkerOptions {
  readonly workerId: BackupHostId;
  readonly group: string;
  /** Transfers at the same time. Memory: the engine's for each (see `backupPoint`, `restorePoint`). */
  readonly transfers: number;
  readonly tools: WorkTools;
  readonly metrics: WorkerMetrics;
  /** Aborts when the process is told to end. */
  readonly stopping: AbortSignal;
  /** From then on until reports and closings are cut short. */
  readonly drainMs: number;
}

/** Hooks at the same time, beside the transfers. Memory: 128 KiB for the output of each. */
const hooksAtOnce = 4;

/** Takes the nudges of a group, claims their transfers and carries them out. At the end it hands back what it has at once. */
export class TransferWorker {
  readonly #options: TransferWorkerOptions;
  /** Null while it is being claimed. */
  readonly #carried = new Map<TransferId, TransferLease | null>();
  readonly #consuming: Promise<void>[] = [];

  constructor(options: TransferWorkerOptions) {
    this.#options = options;
  }

  start(): void {
    const { group, transfers: maxInFlight, stopping: signal, drainMs: graceMs, tools } = this.#options;
    signal.addEventListener('abort', () => {
      for (const lease of this.#carried.values()) lease?.end('release');
    });
    const queue = new WorkQueue(tools.client);
    const lanes = [
      ['transfers', maxInFlight],
      ['hooks', hooksAtOnce],
    ] as const;
    for (const [lane, most] of lanes)
      this.#consuming.push(
        queue.consume(group, { signal, maxInFlight: most, graceMs, lane }, ({ transferId }, context) =>
          this.#take(transferId, context.signal),
        ),
      );
  }

  /** Waits until all is handed back. */
  async drain(): Promise<void> {
    for (const lane of this.#consuming) await lane;
  }

  /** A nudge for what is carried here already is an echo: claiming it again would take it from ourselves. */
  async #take(transferId: TransferId, abandon: AbortSignal): Promise<void> {
    if (this.#options.stopping.aborted)
      throw new Fault('DEPENDENCY_UNAVAILABLE', 'this mover ends: the transfer is for another');
    if (this.#carried.has(transferId)) return;
    this.#carried.set(transferId, null);
    try {
      await this.#claim(transferId, abandon);
    } finally {
      this.#carried.delete(transferId);
    }
  }

  async #claim(transferId: TransferId, abandon: AbortSignal): Promise<void> {
    const { tools, metrics, workerId, stopping } = this.#options;
    const claimedAt = tools.monotonic();
    const claim = await tools.client.request(claimTransfer, { transferId, workerId });
    if (claim.outcome === 'declined') return;
    const { epoch, spec } = claim;
    const own =
      'options' in spec ? await tools.logs?.open(transferId, spec.options.transport.logLevel) : null;
    const told = own ? { ...tools, logger: both(tools.logger, own.logger) } : tools;
    told.logger.info({ transferId, epoch, kind: spec.kind, ...subjectOf(spec) }, 'transfer claimed');
    const lease = new TransferLease(claim, { ...told, transferId, claimedAt });
    this.#carried.set(transferId, lease);
    if (stopping.aborted) lease.end('release');
    await new ClaimedTransfer(transferId, claim, lease, { tools: told, metrics }).run(abandon);
    await own?.close();
  }
}

/** What a transfer is about, for a log. */
const subjectOf = (spec: WorkSpec): object => {
  if (spec.kind === 'hook') return { hook: spec.hook, runId: spec.runId };
  return { pointIds: spec.kind === 'removal' ? spec.pointIds : [spec.pointId] };
};
