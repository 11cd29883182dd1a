import { createHash, createHmac } from 'node:crypto';
import { Blake3Hasher } from '@napi-rs/blake-hash';

export const hashNames = ['blake3-256', 'sha256'] as const;
export type HashName = (typeof hashNames)[number];

/** 32 bytes over the whole input. Not re-entrant and not to be shared between threads. */
export type Digest = (bytes: Uint8Array) => Buffer;

/** The hash of `name`, keyed with 32 bytes (BLAKE3's keyed mode, or HMAC-SHA-256) or not at all. */
export function openDigest(name: HashName, key: Uint8Array | null): Digest {
  if (name === 'sha256') {
    if (key === null) return (bytes) => createHash('sha256').update(bytes).digest();
    return (bytes) => createHmac('sha256', key).update(bytes).digest();
  }
  const hasher = key === null ? new Blake3Hasher() : Blake3Hasher.newKeyed(Buffer.from(key));
  return (bytes) => {
    hasher.reset();
    return hasher.update(bytes).digestBuffer();
  };
}
