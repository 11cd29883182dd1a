import {
  Fault,
  finishTransfer,
  renewTransfer,
  type claimTransfer,
  type Clock,
  type DiskProgress,
  type Logger,
  type Opening,
  type TransferId,
} from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { type z } from 'zod';
import { type Monotonic } from './outage.js';

/** What is asked of the controller. */
export type ControllerClient = Pick<MessagingClient, 'request'>;
export type Claim = Extract<z.output<typeof claimTransfer.reply>, { outcome: 'claimed' }>;
export type Outcome = z.input<typeof finishTransfer.request>['outcome'];

/** `stop` and `release` come from outside; `lost`: the claim is another's, or may be. */
export type Ending = 'stop' | 'release' | 'lost';

/** Every time of a lease, in one place. The lease itself is the controller's: 15 s. */
export const leaseTimes = {
  renewEveryMs: 4_000,
  /** So often when there is progress to tell. */
  tellEveryMs: 2_000,
  retryMs: 1_000,
  requestMs: 5_000,
  /**
   * Without an answer of the controller the work goes on for so long after the last proof of the lease, shorter than an
   * opening lives without renewal (120 s): packs under an own writer hurt nobody, and only a renewed lease may commit.
   */
  orphanMs: 90_000,
  /** The end is reported again and again for so long. */
  reportMs: 300_000,
  maxReportDelayMs: 15_000,
} as const;

const endings: Record<Ending, () => Fault> = {
  stop: () => new Fault('STOPPED', 'the transfer was told to stop'),
  release: () => new Fault('STOPPED', 'the mover ends: the transfer is handed back'),
  lost: () => new Fault('LEASE_LOST', 'the controller did not confirm the lease in time'),
};

const isOutdated = ({ code }: Fault): boolean => code === 'LEASE_LOST' || code === 'NOT_FOUND';
const isPassing = ({ code }: Fault): boolean =>
  code === 'DEPENDENCY_UNAVAILABLE' || code === 'DEADLINE_EXCEEDED';

/**
 * A worker's claim to one transfer under one epoch. Renews itself and carries the progress; its `signal` aborts when the
 * work must end: told to stop, handed back, or the claim can't be held to be ours any longer.
 */
export class TransferLease {
  readonly #claim: Claim;
  readonly #transferId: TransferId;
  readonly #client: ControllerClient;
  readonly #clock: Clock;
  readonly #monotonic: Monotonic;
  readonly #logger: Logger;
  readonly #working = new AbortController();
  readonly #renewing = new AbortController();
  #ending: Ending | null = null;
  #provenUntil: number;
  #renewedAt: number;
  /** Progress that the controller has not been told. */
  #hasNews = false;
  #committing = false;
  #captured: Pick<Opening, 'openedAt' | 'method'> | null = null;
  #progress: readonly DiskProgress[] = [];

  /** `claimedAt`: when the claim was asked for, by `monotonic`. */
  constructor(
    claim: Claim,
    parts: {
      readonly transferId: TransferId;
      readonly claimedAt: number;
      readonly client: ControllerClient;
      readonly clock: Clock;
      readonly monotonic: Monotonic;
      readonly logger: Logger;
    },
  ) {
    this.#claim = claim;
    this.#transferId = parts.transferId;
    this.#client = parts.client;
    this.#clock = parts.clock;
    this.#monotonic = parts.monotonic;
    this.#logger = parts.logger;
    this.#renewedAt = parts.claimedAt;
    this.#provenUntil = parts.claimedAt + claim.leaseSeconds * 1_000;
  }

  get signal(): AbortSignal {
    return this.#working.signal;
  }
  get ending(): Ending | null {
    return this.#ending;
  }
  /** By our own clock the controller has given the transfer to nobody else. */
  get isProven(): boolean {
    return this.#ending !== 'lost' && this.#monotonic() < this.#provenUntil;
  }
  get epoch(): number {
    return this.#claim.epoch;
  }

  /** Renews until `finish`, `letGo` or the end of the claim. Never rejects. */
  async keep(): Promise<void> {
    const { signal } = this.#renewing;
    for (let renewed = true; !signal.aborted;) {
      await this.#clock.sleep(renewed ? leaseTimes.tellEveryMs : leaseTimes.retryMs, signal);
      const isDue = this.#hasNews || this.#monotonic() >= this.#renewedAt + leaseTimes.renewEveryMs;
      if (!signal.aborted && (isDue || !renewed)) renewed = await this.#renew();
    }
  }

  /** Ends the work; the first ending counts. */
  end(ending: Ending): void {
    if (this.#ending !== null) return;
    this.#ending = ending;
    this.#working.abort(endings[ending]());
    if (ending === 'lost') this.letGo();
  }

  /** Renews no longer. */
  letGo(): void {
    this.#renewing.abort();
  }

  throwIfEnded(): void {
    if (this.#working.signal.aborted) throw Fault.ofAbort(this.#working.signal);
  }

  /** Goes with the next renewal, which is not far. */
  report(progress: readonly DiskProgress[]): void {
    this.#progress = progress;
    this.#hasNews = true;
  }

  /** Returns when the controller knows of the capture: no pack may be written before. */
  async captured(opening: Pick<Opening, 'openedAt' | 'method'>): Promise<void> {
    this.#captured = opening;
    await this.prove();
  }

  /** The capture is gone: what was said of it is not said again. */
  captureLost(): void {
    this.#captured = null;
    this.#progress = [];
  }

  /** The last question before a commit. From now on the work ends as soon as the lease is not proven. */
  async mayCommit(): Promise<void> {
    await this.prove();
    this.#committing = true;
  }

  /** Renews until the controller has answered; throws when it forbids to go on, or stays silent for too long. */
  async prove(): Promise<void> {
    this.throwIfEnded();
    while (!(await this.#renew())) {
      this.throwIfEnded();
      await this.#clock.sleep(leaseTimes.retryMs, this.#working.signal);
    }
    this.throwIfEnded();
  }

  /** Asks the controller something under this claim until it answers, or the claim ends. */
  async ask<T>(send: (options: { signal: AbortSignal; deadlineMs: number }) => Promise<T>): Promise<T> {
    for (;;) {
      this.throwIfEnded();
      try {
        return await send({ signal: this.#working.signal, deadlineMs: leaseTimes.requestMs });
      } catch (error) {
        const fault = Fault.from(error);
        if (isOutdated(fault)) this.end('lost');
        this.throwIfEnded();
        if (!isPassing(fault)) throw fault;
      }
      await this.#clock.sleep(leaseTimes.retryMs, this.#working.signal);
    }
  }

  /**
   * Reports the end until the controller takes it, says that the claim is outdated, or `signal` aborts. False: it is not
   * known there; the row goes to another worker, or is settled already.
   */
  async finish(outcome: Outcome, signal: AbortSignal): Promise<boolean> {
    this.letGo();
    const transferId = this.#transferId;
    const until = this.#monotonic() + leaseTimes.reportMs;
    for (let delayMs = 500; ; delayMs = Math.min(leaseTimes.maxReportDelayMs, delayMs * 2)) {
      try {
        const request = { transferId, epoch: this.#claim.epoch, outcome };
        await this.#client.request(finishTransfer, request, { deadlineMs: leaseTimes.requestMs, signal });
        return true;
      } catch (error) {
        const fault = Fault.from(error);
        const isOver = signal.aborted || this.#monotonic() >= until || !isPassing(fault);
        this.#logger.warn({ err: fault, transferId, outcome: outcome.state, isOver }, 'end not reported');
        if (isOver) return false;
      }
      await this.#clock.sleep(delayMs, signal);
    }
  }

  /** Whether the controller answered. */
  async #renew(): Promise<boolean> {
    const sentAt = this.#monotonic();
    this.#hasNews = false;
    const transferId = this.#transferId;
    const request = {
      transferId,
      epoch: this.#claim.epoch,
      capturedAt: this.#captured?.openedAt ?? null,
      method: this.#captured?.method ?? null,
      progress: [...this.#progress],
    };
    try {
      const options = { deadlineMs: leaseTimes.requestMs, signal: this.#renewing.signal };
      const { verdict, leaseSeconds } = await this.#client.request(renewTransfer, request, options);
      this.#renewedAt = sentAt;
      this.#provenUntil = Math.max(this.#provenUntil, sentAt + leaseSeconds * 1_000);
      if (verdict === 'stop') this.end('stop');
      return true;
    } catch (error) {
      this.#notRenewed(Fault.from(error));
      return false;
    }
  }

  #notRenewed(fault: Fault): void {
    if (this.#renewing.signal.aborted) return;
    const patienceMs = this.#committing ? 0 : leaseTimes.orphanMs;
    const isOver = isOutdated(fault) || this.#monotonic() >= this.#provenUntil + patienceMs;
    this.#logger.warn({ err: fault, transferId: this.#transferId, isOver }, 'lease not renewed');
    if (isOver) this.end('lost');
  }
}
