/**
 * Which bytes of a read have come, when its reply may come in pieces, in any order. Pieces that touch are kept as one, so
 * memory is 2 numbers per gap: 1 in the usual case, at most length / 2 where every other byte came alone.
 */
export class Coverage {
  readonly #pieces: { start: number; end: number }[] = [];

  /** Marks `[start, end)`; false when any of it was marked before. */
  add(start: number, end: number): boolean {
    const at = this.#firstEndingAfter(start);
    const next = this.#pieces[at];
    if (next !== undefined && next.start < end) return false;
    const previous = this.#pieces[at - 1];
    const joinsPrevious = previous?.end === start;
    const joinsNext = next?.start === end;
    if (joinsPrevious && joinsNext) {
      previous.end = next.end;
      this.#pieces.splice(at, 1);
    } else if (joinsPrevious) previous.end = end;
    else if (joinsNext) next.start = start;
    else this.#pieces.splice(at, 0, { start, end });
    return true;
  }

  /** Whether every byte of `[start, end)` has come. */
  covers(start: number, end: number): boolean {
    if (start === end) return true;
    const piece = this.#pieces[this.#firstEndingAfter(start)];
    return piece !== undefined && piece.start <= start && piece.end >= end;
  }

  #firstEndingAfter(position: number): number {
    let low = 0;
    let high = this.#pieces.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#pieces[middle]?.end ?? 0) > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
