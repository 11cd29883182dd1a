import { Fault } from '@casvault/contracts';

/** What QEMU says when the clock by which it measures its key derivation did not move meanwhile. */
const coarseClock = 'Unable to get accurate CPU usage';
/** Each fails by the chance of where it falls between two ticks of that clock. */
const attempts = 50;

/**
 * Does work in which QEMU measures how fast it derives keys, again while it fails for that measurement alone: QEMU takes the CPU time
 * of its thread, which some machines count in ticks longer than the first measurement takes. Throws what `work` throws otherwise, and
 * after `attempts`.
 */
export async function calibrated<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1)
    try {
      return await work();
    } catch (error) {
      if (attempt === attempts || !Fault.from(error).message.includes(coarseClock)) throw error;
    }
}
