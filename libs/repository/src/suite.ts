import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  hkdfSync,
  randomBytes,
  type Cipheriv,
  type Decipheriv,
  type KeyObject,
} from 'node:crypto';
import { Fault } from '@casvault/contracts';
import { asBuffer, uuidBytes } from './bytes.js';
import { openDigest, type Digest, type HashName } from './digest.js';
import { SEAL_BYTES, type PackRef } from './layout.js';

/**
 * The hashes and keys of one repository, opened. `identify` makes block ids (keyed when the repository is encrypted);
 * `checksum` is never keyed, so that a scrub needs no key.
 */
export interface Suite {
  readonly repositoryId: string;
  readonly hash: HashName;
  readonly identify: Digest;
  readonly checksum: Digest;
  readonly keys: { readonly frames: Buffer; readonly manifests: Buffer } | null;
}

export function openSuite(options: {
  repositoryId: string;
  hash: HashName;
  masterKey: Uint8Array | null;
}): Suite {
  const { repositoryId, hash, masterKey } = options;
  const checksum = openDigest(hash, null);
  if (masterKey === null) return { repositoryId, hash, checksum, identify: checksum, keys: null };
  const derive = (purpose: string) => deriveKey(masterKey, uuidBytes(repositoryId), Buffer.from(purpose));
  return {
    repositoryId,
    hash,
    checksum,
    identify: openDigest(hash, derive('casvault v1 block ids')),
    keys: { frames: derive('casvault v1 frames'), manifests: derive('casvault v1 manifests') },
  };
}

/** HKDF-SHA-256 (RFC 5869), 32 bytes. */
export function deriveKey(key: Uint8Array, salt: Uint8Array, info: Uint8Array): Buffer {
  return Buffer.from(hkdfSync('sha256', key, salt, info, 32));
}

/** The key of one pack: so few frames share a key that random 96-bit nonces cannot meet. Made ready for the ciphers of all its frames. */
export function packFrameKey(suite: Suite, pack: PackRef): KeyObject | null {
  if (suite.keys === null) return null;
  const info = Buffer.alloc(24);
  info.write('pack', 0, 'latin1');
  uuidBytes(pack.writerId).copy(info, 4);
  info.writeUInt32LE(pack.seq, 20);
  return createSecretKey(deriveKey(suite.keys.frames, Buffer.alloc(0), info));
}

/**
 * node:crypto returns new memory. In pieces of this size the allocator has it ready again, while larger ones are mapped each time; and it is
 * given back at once (`transfer` frees what an ArrayBuffer holds), as collecting a GiB of it costs as much as the encryption.
 */
const cipherPieceBytes = 64 * 1024;

/** Room of a length: the beginning of `into`, or new. */
const room = (length: number, into?: Uint8Array): Buffer =>
  into === undefined ? Buffer.allocUnsafe(length) : asBuffer(into).subarray(0, length);

function pour(cipher: Cipheriv | Decipheriv, from: Uint8Array, into: Buffer): void {
  for (let at = 0; at < from.length; at += cipherPieceBytes) {
    const piece = cipher.update(from.subarray(at, at + cipherPieceBytes));
    into.set(piece, at);
    if (piece.buffer.byteLength === piece.length) piece.buffer.transfer(0);
  }
}

/**
 * `nonce (12) || ciphertext || tag (16)`, AES-256-GCM; at the beginning of `into` where that is given, which must not overlap `plain` and
 * have `SEAL_BYTES` more.
 */
export function seal(
  key: Uint8Array | KeyObject,
  aad: Uint8Array,
  plain: Uint8Array,
  into?: Uint8Array,
): Buffer {
  const sealed = room(plain.length + SEAL_BYTES, into);
  const nonce = randomBytes(12);
  sealed.set(nonce, 0);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(aad);
  pour(cipher, plain, sealed.subarray(12));
  cipher.final();
  sealed.set(cipher.getAuthTag(), 12 + plain.length);
  return sealed;
}

/** The plain bytes, in `into` where that is given, or null where key, AAD or bytes are not those of the sealing. */
export function unseal(
  key: Uint8Array | KeyObject,
  aad: Uint8Array,
  sealed: Uint8Array,
  into?: Uint8Array,
): Buffer | null {
  if (sealed.length < SEAL_BYTES) return null;
  const end = sealed.length - 16;
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12));
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(end));
  const plain = room(end - 12, into);
  pour(decipher, sealed.subarray(12, end), plain);
  try {
    decipher.final();
  } catch {
    return null;
  }
  return plain;
}

export function requireKey(length: number, what: string): void {
  if (length !== 32) throw new Fault('INPUT_INVALID', `${what} must be 32 bytes, is ${length}`);
}
