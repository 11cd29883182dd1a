import { nextWriter, type OpeningId, type TransferId, type WriterId } from '@casvault/contracts';
import { type Claim, type ControllerClient, type TransferLease } from './transfer-lease.js';

/** A writer before the present one, and the opening whose bytes its packs are of. */
export interface EarlierWriter {
  readonly writerId: WriterId;
  readonly openingId: OpeningId;
}

/** What it needs of a claimed transfer. */
interface Claimed {
  readonly transferId: TransferId;
  readonly claim: Pick<Claim, 'writerId' | 'earlierWriters'>;
  readonly lease: Pick<TransferLease, 'ask' | 'epoch'>;
  readonly tools: { readonly client: ControllerClient };
}

/** In whose name an attempt writes packs into the pool. A writer that may have packs belongs to its attempt: the next one gets another. */
export class PoolWriter {
  readonly #claimed: Claimed;
  readonly #counts: (earlier: EarlierWriter) => boolean;
  #id: WriterId;
  #earlier: WriterId[];
  #isUsed = false;

  /** `counts`: whether packs of an earlier writer may be used again. */
  constructor(claimed: Claimed, counts: (earlier: EarlierWriter) => boolean) {
    const { writerId, earlierWriters } = claimed.claim;
    this.#claimed = claimed;
    this.#counts = counts;
    this.#id = writerId;
    this.#earlier = this.#counted(earlierWriters);
  }

  get id(): WriterId {
    return this.#id;
  }

  /** Those whose packs are used again. */
  get earlier(): readonly WriterId[] {
    return this.#earlier;
  }

  /** From now on it may have packs. */
  use(): void {
    this.#isUsed = true;
  }

  /** Before another attempt: one that was used is handed over to its successor, with its packs. */
  async handOver(): Promise<void> {
    if (!this.#isUsed) return;
    const { lease, tools, transferId } = this.#claimed;
    const { epoch } = lease;
    const next = await lease.ask((options) =>
      tools.client.request(nextWriter, { transferId, epoch }, options),
    );
    this.#id = next.writerId;
    this.#isUsed = false;
    this.#earlier = this.#counted(next.earlierWriters);
  }

  /** Begins anew in another's name: no packs of before are used again. */
  beginAnew(id: WriterId): void {
    this.#id = id;
    this.#isUsed = false;
    this.#earlier = [];
  }

  #counted(writers: readonly EarlierWriter[]): WriterId[] {
    return writers.filter(this.#counts).map(({ writerId }) => writerId);
  }
}
