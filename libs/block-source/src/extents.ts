import { Fault } from '@casvault/contracts';
import { type Extent } from './disk.js';

/** Longest range of one block status query; a multiple of every minimum block size. */
export const maxStatusBytes = 0x7fff0000;

/** Asks for the status of a range: descriptors (32-bit length, 32-bit flags) from `offset` on, at least one. */
export type StatusQuery = (offset: number, length: number) => Promise<Buffer>;

/**
 * The extents of `[start, end)`, queried as they are consumed. Servers may answer for less or more than was asked and repeat
 * flags: here ranges are cut and joined. Memory: one reply.
 */
export async function* extentsOf(
  query: StatusQuery,
  start: number,
  end: number,
  signal?: AbortSignal,
): AsyncGenerator<Extent> {
  const joined = new Joined();
  let at = start;
  while (at < end) {
    if (signal?.aborted === true) throw Fault.ofAbort(signal);
    const descriptors = await query(at, Math.min(end - at, maxStatusBytes));
    for (let i = 0; i < descriptors.length && at < end; i += 8) {
      const length = Math.min(descriptors.readUInt32BE(i), end - at);
      const complete = joined.push({ offset: at, length, flags: descriptors.readUInt32BE(i + 4) });
      if (complete !== null) yield complete;
      at += length;
    }
  }
  if (joined.last !== null) yield joined.last;
}

/** Holds back the newest extent until one with other flags follows. */
class Joined {
  last: Extent | null = null;

  /** The extent that the new one completed, if any. */
  push(next: Extent): Extent | null {
    const held = this.last;
    if (held?.flags === next.flags) {
      this.last = { ...held, length: held.length + next.length };
      return null;
    }
    this.last = next;
    return held;
  }
}
