import { packRanges, type PackRanges, type PackRef } from '@casvault/repository';

/** The packs of a point. Memory: about 20 bytes a pack (8 MiB stored). */
export class PackSet {
  readonly #writers = new Map<string, Set<number>>();

  add({ writerId, seq }: PackRef): void {
    const seqs = this.#writers.get(writerId);
    if (seqs === undefined) this.#writers.set(writerId, new Set([seq]));
    else seqs.add(seq);
  }

  addAll(other: PackSet): void {
    for (const pack of other.#all()) this.add(pack);
  }

  has({ writerId, seq }: PackRef): boolean {
    return this.#writers.get(writerId)?.has(seq) === true;
  }

  hasWriter(writerId: string): boolean {
    return this.#writers.has(writerId);
  }

  ranges(): PackRanges {
    return packRanges(this.#all());
  }

  *#all(): Generator<PackRef> {
    for (const [writerId, seqs] of this.#writers) for (const seq of seqs) yield { writerId, seq };
  }
}
