import { createHash } from 'node:crypto';
import { InputFault } from './input.js';

const header = 'Idempotency-Key';

/**
 * The key of a request (draft-ietf-httpapi-idempotency-key-header): a structured string in quotes, or the same bare; 1 to 255
 * visible ASCII characters. Null without one.
 */
export const idempotencyKeyOf = (value: string | string[] | undefined): string | null => {
  if (value === undefined) return null;
  const text = Array.isArray(value) ? value.join(',') : value;
  const key = /^"(.*)"$/.exec(text)?.[1] ?? text;
  if (!/^[\x21-\x7e]{1,255}$/.test(key))
    throw new InputFault([
      { field: header, rule: 'must be 1 to 255 visible ASCII characters', value: text.slice(0, 100) },
    ]);
  return key;
};

export interface RequestIdentity {
  readonly userId: string;
  readonly method: string;
  /** As asked, with parameters filled in: the same key for another parent is another request. */
  readonly path: string;
  readonly key: string;
}

/**
 * The id that a keyed request gives to what it makes: a UUID of version 8 (RFC 9562) from SHA-256. The gateway keeps no
 * record of keys: services are idempotent by id, so a repeated request finds what the first one made.
 */
export const keyedId = ({ userId, method, path, key }: RequestIdentity): string => {
  const hash = createHash('sha256')
    .update(JSON.stringify(['casvault idempotency 1', userId, method, path, key]))
    .digest();
  hash.writeUInt8((hash.readUInt8(6) & 0x0f) | 0x80, 6);
  hash.writeUInt8((hash.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = hash.toString('hex', 0, 16);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
};
