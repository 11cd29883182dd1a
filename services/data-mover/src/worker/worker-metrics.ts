import { type DiskProgress, type WorkSpec } from '@casvault/contracts';
import { metrics, type Counter, type Histogram } from '@opentelemetry/api';

type Kind = WorkSpec['kind'];

/** What the bytes of a kind are: moved at the disk, and at the pool. */
const directions: Record<Kind, { disk: string; pool: string }> = {
  backup: { disk: 'read', pool: 'stored' },
  restore: { disk: 'written', pool: 'fetched' },
  rollback: { disk: 'written', pool: 'fetched' },
  verify: { disk: 'none', pool: 'fetched' },
  copy: { disk: 'fetched', pool: 'stored' },
  removal: { disk: 'none', pool: 'none' },
  hook: { disk: 'none', pool: 'none' },
};

const sumOf = (progress: readonly DiskProgress[], field: 'doneBytes' | 'storedBytes'): number =>
  progress.reduce((sum, disk) => sum + disk[field], 0);

/**
 * `casvault_worker_transfers_total{kind,outcome}`, `casvault_worker_transfer_seconds{kind,outcome}`,
 * `casvault_worker_transfers_running`, `casvault_worker_bytes_total{kind,direction}` with direction `read`, `stored`,
 * `written` or `fetched`.
 */
export class WorkerMetrics {
  readonly #transfers: Counter;
  readonly #seconds: Histogram;
  readonly #bytes: Counter;
  #running = 0;

  constructor() {
    const meter = metrics.getMeter('casvault.data-mover');
    this.#transfers = meter.createCounter('casvault_worker_transfers_total', {
      description: 'Claims that ended here, by kind of transfer and outcome',
    });
    this.#seconds = meter.createHistogram('casvault_worker_transfer_seconds', {
      description: 'From the claim to its end here',
      advice: { explicitBucketBoundaries: [1, 5, 15, 60, 300, 900, 3_600, 14_400, 43_200] },
    });
    this.#bytes = meter.createCounter('casvault_worker_bytes_total', {
      description: 'Bytes read from and written to disks, stored in and fetched from pools, as they move',
    });
    meter
      .createObservableGauge('casvault_worker_transfers_running', { description: 'Transfers under way here' })
      .addCallback((result) => result.observe(this.#running));
  }

  started(): void {
    this.#running += 1;
  }

  ended(kind: Kind, outcome: string, seconds: number): void {
    this.#running -= 1;
    this.#transfers.add(1, { kind, outcome });
    this.#seconds.record(seconds, { kind, outcome });
  }

  /** `before` and `now` are successive reports of one attempt; a new attempt begins at nothing. */
  moved(kind: Kind, before: readonly DiskProgress[], now: readonly DiskProgress[]): void {
    const { disk, pool } = directions[kind];
    const read = sumOf(now, 'doneBytes') - sumOf(before, 'doneBytes');
    const stored = sumOf(now, 'storedBytes') - sumOf(before, 'storedBytes');
    if (read > 0) this.#bytes.add(read, { kind, direction: disk });
    if (stored > 0) this.#bytes.add(stored, { kind, direction: pool });
  }
}
