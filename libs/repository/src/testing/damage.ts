import { Fault } from '@casvault/contracts';
import fc from 'fast-check';

/** One way to spoil an object. */
export type Damage =
  | { readonly kind: 'flip'; readonly at: number; readonly bit: number }
  | { readonly kind: 'cut'; readonly at: number }
  | { readonly kind: 'fill'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: 'append'; readonly bytes: Uint8Array };

const positions = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
export const damages: fc.Arbitrary<Damage> = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), at: positions, bit: fc.nat(7) }),
  fc.record({ kind: fc.constant('cut' as const), at: positions }),
  fc.record({
    kind: fc.constant('fill' as const),
    at: positions,
    bytes: fc.uint8Array({ minLength: 1, maxLength: 24 }),
  }),
  fc.record({ kind: fc.constant('append' as const), bytes: fc.uint8Array({ minLength: 1, maxLength: 24 }) }),
);

/** A spoiled copy; `at` is a part of the length. */
export function spoil(healthy: Uint8Array, damage: Damage): Buffer {
  const bytes = Buffer.from(healthy);
  if (damage.kind === 'append') return Buffer.concat([bytes, damage.bytes]);
  const at = Math.floor(damage.at * bytes.length);
  if (damage.kind === 'cut') return bytes.subarray(0, at);
  if (damage.kind === 'flip') bytes[at]! ^= 1 << damage.bit;
  else bytes.set(damage.bytes.subarray(0, bytes.length - at), at);
  return bytes;
}

/** The value, or null for a fault that names `object`; anything else thrown is thrown on. */
export function decodeOrFault<T>(decode: () => T, object: string): T | null {
  try {
    return decode();
  } catch (error) {
    const known = Fault.is(error) && ['POOL_OBJECT_DAMAGED', 'POOL_FORMAT_UNSUPPORTED'].includes(error.code);
    if (!known || !error.message.includes(object) || error.details['key'] !== object) throw error;
    return null;
  }
}

/** The code of the fault that `run` throws; null when it does not throw. */
export function faultCodeOf(run: () => unknown): string | null {
  try {
    run();
    return null;
  } catch (error) {
    return Fault.from(error).code;
  }
}
