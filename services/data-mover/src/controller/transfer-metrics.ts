import { type Clock, type Logger } from '@casvault/contracts';
import { observeGauges } from '@casvault/service-host';
import { metrics, type Counter, type Histogram } from '@opentelemetry/api';
import { type TransferStore } from './transfer-store.js';
import { isTerminal, storedBytes, type TransferState } from './transfer.js';

/**
 * `casvault_transfers{state,kind,group}` (queue depth: `state="queued"`), `casvault_transfer_queue_age_seconds{group}`,
 * `casvault_transfer_seconds{kind,state}`,
 * `casvault_transfer_read_bytes_total{kind}`, `casvault_transfer_stored_bytes_total{kind}`.
 */
export class TransferMetrics {
  readonly #clock: Clock;
  readonly #durations: Histogram;
  readonly #read: Counter;
  readonly #stored: Counter;

  constructor(store: TransferStore, clock: Clock, logger: Logger) {
    this.#clock = clock;
    const meter = metrics.getMeter('casvault.data-mover');
    this.#durations = meter.createHistogram('casvault_transfer_seconds', {
      description: 'From the last time in the queue to the end',
      advice: { explicitBucketBoundaries: [1, 5, 15, 60, 300, 900, 3_600, 14_400, 43_200] },
    });
    this.#read = meter.createCounter('casvault_transfer_read_bytes_total', {
      description: 'Read from disks (backup) or written to them (restore) by finished transfers',
    });
    this.#stored = meter.createCounter('casvault_transfer_stored_bytes_total', {
      description: 'Stored in pools (backup) or read from them (restore) by finished transfers',
    });
    const gauges = {
      casvault_transfers: 'Transfers, by state, kind and group of backup hosts',
      casvault_transfer_queue_age_seconds:
        'Since when the oldest queued transfer of a group is known; none queued: no series',
    };
    const options = { meter: 'casvault.data-mover', unread: 'transfers are not counted', logger };
    observeGauges(gauges, options, async (observe) => {
      for (const { count, ...labels } of await store.countByState())
        observe('casvault_transfers', count, { ...labels });
      for (const { group, ageSeconds } of await store.oldestQueued())
        observe('casvault_transfer_queue_age_seconds', ageSeconds, { group });
    });
  }

  finished(transfer: TransferState): void {
    if (!isTerminal(transfer.state)) return;
    const { kind } = transfer.request.spec;
    const seconds = (this.#clock.now().getTime() - Date.parse(transfer.queuedAt)) / 1_000;
    this.#durations.record(seconds, { kind, state: transfer.state });
    this.#read.add(
      transfer.progress.reduce((sum, { doneBytes }) => sum + doneBytes, 0),
      { kind },
    );
    this.#stored.add(storedBytes(transfer.progress), { kind });
  }
}
