import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '@casvault/contracts';
import { z } from 'zod';

/** What the guest's workload says of itself once a second. */
export const workloadStatisticsSchema = z.object({
  /** The last number written to both disks. */
  number: z.number(),
  /** Pairs written since boot. */
  pairs: z.number(),
  bulkBytes: z.number(),
  discards: z.number(),
  /** Writes, flushes that the disks refused. */
  errors: z.number(),
  disks: z.number(),
  running: z.number().transform((value) => value !== 0),
});
export type WorkloadStatistics = z.infer<typeof workloadStatisticsSchema>;

export interface WorkloadRates {
  readonly pairsPerSecond: number;
  readonly bulkKiBPerSecond: number;
}

const maxLineBytes = 4096;

/**
 * The control line to one guest's workload: the second serial port, a unix socket that QEMU listens on. It keeps the last
 * statistics; it connects again when the machine is started again. Memory: one line, at most 4 KiB.
 */
export class WorkloadControl {
  readonly #path: string;
  #socket: Socket | undefined;
  #partial = '';
  #latest: WorkloadStatistics | undefined;
  #closed = false;

  constructor(path: string) {
    this.#path = path;
    this.#open();
  }

  /** The last line heard since the machine was started; undefined before the first. */
  get latest(): WorkloadStatistics | undefined {
    return this.#latest;
  }

  close(): void {
    this.#closed = true;
    this.#socket?.destroy();
  }

  /** Starts the workload and waits until the guest says that it runs. Throws DEADLINE_EXCEEDED after `timeoutMs`. */
  async start(rates: WorkloadRates, timeoutMs = 60_000): Promise<WorkloadStatistics> {
    const line = `start ${String(rates.pairsPerSecond)} ${String(rates.bulkKiBPerSecond)}\n`;
    return await this.#command(line, (latest) => latest.running && latest.number > 0, timeoutMs);
  }

  /** Stops the writing: what the disks hold then stays as it is. */
  async stop(timeoutMs = 60_000): Promise<WorkloadStatistics> {
    return await this.#command('stop\n', (latest) => !latest.running, timeoutMs);
  }

  /** Resolves when the guest has spoken since its start. */
  async ready(timeoutMs = 120_000): Promise<WorkloadStatistics> {
    return await this.#until(() => true, timeoutMs);
  }

  async #command(
    line: string,
    done: (latest: WorkloadStatistics) => boolean,
    timeoutMs: number,
  ): Promise<WorkloadStatistics> {
    await this.ready(timeoutMs);
    this.#latest = undefined;
    this.#socket?.write(line);
    return await this.#until(done, timeoutMs);
  }

  async #until(
    done: (latest: WorkloadStatistics) => boolean,
    timeoutMs: number,
  ): Promise<WorkloadStatistics> {
    for (let waited = 0; waited <= timeoutMs; waited += 50) {
      const latest = this.#latest;
      if (latest && done(latest)) return latest;
      await sleep(50);
    }
    throw new Fault(
      'DEADLINE_EXCEEDED',
      `the guest did not answer on ${this.#path} in ${String(timeoutMs)} ms`,
    );
  }

  #open(): void {
    if (this.#closed) return;
    this.#latest = undefined;
    this.#partial = '';
    const socket = connect(this.#path);
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#take(text));
    socket.on('error', () => undefined); // told by 'close'
    socket.on('close', () => {
      this.#latest = undefined;
      setTimeout(() => this.#open(), 300).unref();
    });
  }

  #take(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = (lines.pop() ?? '').slice(-maxLineBytes);
    for (const line of lines) this.#latest = parseStatistics(line) ?? this.#latest;
  }
}

/** A line of the guest, or undefined for a torn or foreign one. */
export function parseStatistics(line: string): WorkloadStatistics | undefined {
  try {
    return workloadStatisticsSchema.parse(JSON.parse(line));
  } catch {
    return undefined;
  }
}
