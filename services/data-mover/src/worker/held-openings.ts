import { type DiskServiceClient } from '@casvault/block-source';
import {
  Fault,
  holderInTheWay,
  type Clock,
  type Logger,
  type Opening,
  type OpeningId,
  type OpenRequest,
  type TransferId,
} from '@casvault/contracts';

/** What is asked of the disk service. */
export type DiskService = Pick<DiskServiceClient, 'open' | 'get' | 'renew' | 'close'>;

export const openingTimes = {
  leaseSeconds: 120,
  renewEveryMs: 20_000,
  closeTries: 5,
  firstCloseDelayMs: 1_000,
  /** Openings of the dead that one opening takes out of its way. */
  outOfTheWay: 3,
} as const;

/** One opening of this transfer. `lost` aborts with CAPTURE_LOST when the disk service says that it is gone. */
export interface HeldOpening {
  readonly opening: Opening;
  readonly lost: AbortSignal;
}

interface Renewal {
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

type Request = OpenRequest extends infer R
  ? R extends OpenRequest
    ? Omit<R, 'leaseSeconds' | 'transferId'>
    : never
  : never;

/**
 * The openings of one transfer at one disk service. They are renewed for as long as the transfer is ours (`isOurs`) and
 * closed with it; whatever is not closed ends with its lease.
 */
export class HeldOpenings {
  readonly #client: () => DiskService;
  readonly #transferId: TransferId;
  readonly #isOurs: () => boolean;
  readonly #isOver: (other: TransferId, signal: AbortSignal) => Promise<boolean>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** Null: asked for, but not known to be open. */
  readonly #held = new Map<OpeningId, Renewal | null>();
  /** Their checkpoints stay when they are closed. */
  readonly #kept = new Set<OpeningId>();

  constructor(parts: {
    /** Made anew for each call: the token is in clear only then. */
    readonly client: () => DiskService;
    readonly transferId: TransferId;
    readonly isOurs: () => boolean;
    /** Whether another transfer is known to have ended, so that nobody will close what it opened. */
    readonly isOver: (other: TransferId, signal: AbortSignal) => Promise<boolean>;
    readonly clock: Clock;
    readonly logger: Logger;
  }) {
    this.#client = parts.client;
    this.#transferId = parts.transferId;
    this.#isOurs = parts.isOurs;
    this.#isOver = parts.isOver;
    this.#clock = parts.clock;
    this.#logger = parts.logger;
  }

  /**
   * Opens, or takes up what an earlier attempt opened under this id. What stands in the way is closed first if nobody else will:
   * an opening that this transfer gave up, or one of a transfer that is over. Anybody else's is refused as it is.
   */
  async open(id: OpeningId, request: Request, signal: AbortSignal): Promise<HeldOpening> {
    await this.#letGo(id);
    this.#held.set(id, null);
    const opening = await this.#openOverTheDead(id, request, signal);
    const stop = new AbortController();
    const lost = new AbortController();
    this.#held.set(id, { stop, ended: this.#renew(id, stop.signal, lost) });
    return { opening, lost: lost.signal };
  }

  /** Whether it is lost: its disk service says so. Unknown while that is silent: false. */
  async isLost(id: OpeningId, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#client().get(id, { signal });
      return false;
    } catch (error) {
      const { code } = Fault.from(error);
      return code === 'CAPTURE_LOST' || code === 'NOT_FOUND';
    }
  }

  /**
   * The point of this opening is committed: closing it leaves its checkpoint, and takes away those that it supersedes. Also of
   * one that an earlier attempt opened.
   */
  keepCheckpoint(id: OpeningId): void {
    this.#kept.add(id);
    if (!this.#held.has(id)) this.#held.set(id, null);
  }

  /** Closes one, trying a few times; it does not throw: the lease does what this could not. */
  async close(id: OpeningId, signal: AbortSignal): Promise<void> {
    await this.#letGo(id);
    let delayMs: number = openingTimes.firstCloseDelayMs;
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      try {
        await this.#client().close(id, { keepCheckpoint: this.#kept.has(id), signal });
        return;
      } catch (error) {
        const fault = Fault.from(error);
        const isLast = attempt >= openingTimes.closeTries || fault.kind !== 'unavailable';
        this.#logger.warn({ err: fault, openingId: id, attempt, isLast }, 'opening not closed');
        if (isLast) return;
      }
      await this.#clock.sleep(delayMs, signal);
      delayMs *= 2;
    }
  }

  /** Closes all, one after the other. */
  async closeAll(signal: AbortSignal): Promise<void> {
    for (const id of [...this.#held.keys()]) await this.close(id, signal);
  }

  /** Renews nothing any more and leaves all to whoever comes next, or to the leases. */
  async letGoAll(): Promise<void> {
    for (const id of [...this.#held.keys()]) await this.#letGo(id);
  }

  async #openOverTheDead(id: OpeningId, request: Request, signal: AbortSignal): Promise<Opening> {
    const { leaseSeconds, outOfTheWay } = openingTimes;
    const asked = { ...request, transferId: this.#transferId, leaseSeconds };
    for (let left: number = outOfTheWay; ; left -= 1) {
      try {
        return await this.#client().open(id, asked, { signal });
      } catch (error) {
        const dead = left === 0 ? null : await this.#deadInTheWay(Fault.from(error), signal);
        if (dead === null) throw error;
        this.#logger.warn({ openingId: id, dead }, 'an opening of the dead is in the way: it is closed');
        await this.#client().close(dead, { keepCheckpoint: false, signal });
      }
    }
  }

  async #deadInTheWay({ code, details }: Fault, signal: AbortSignal): Promise<OpeningId | null> {
    const holder = code === 'DISK_SERVICE_REFUSED' ? holderInTheWay.safeParse(details).data : undefined;
    if (holder === undefined) return null;
    const { openingId, transferId } = holder;
    const isDead = transferId === this.#transferId || (await this.#isOver(transferId, signal));
    return isDead ? openingId : null;
  }

  async #letGo(id: OpeningId): Promise<void> {
    const renewal = this.#held.get(id);
    this.#held.delete(id);
    renewal?.stop.abort();
    await renewal?.ended;
  }

  /** Never rejects. */
  async #renew(id: OpeningId, signal: AbortSignal, lost: AbortController): Promise<void> {
    for (;;) {
      await this.#clock.sleep(openingTimes.renewEveryMs, signal);
      if (signal.aborted) return;
      if (!this.#isOurs()) continue;
      try {
        await this.#client().renew(id, openingTimes.leaseSeconds, { signal });
      } catch (error) {
        const fault = Fault.from(error);
        if (signal.aborted) return;
        this.#logger.warn({ err: fault, openingId: id }, 'opening not renewed');
        if (fault.code === 'CAPTURE_LOST') lost.abort(fault);
      }
    }
  }
}
