import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { Fault, type Sealed } from '@casvault/contracts';

/** Secrets at rest and in messages: readable only by holders of the installation's key. */
export interface Sealer {
  seal(plain: string): Sealed;
  /** Throws INPUT_INVALID for what was sealed with another key, or altered. */
  open(sealed: string): string;
}

const prefix = 'sealed:v1';
const ivBytes = 12;
const tagBytes = 16;

const keyIdOf = (key: Buffer): string =>
  createHash('sha256').update('casvault-key-id').update(key).digest('hex').slice(0, 8);

/**
 * AES-256-GCM. `keys` is 32 bytes in base64; older keys may follow, separated by commas: the first seals, all open.
 * `sealed:v1:<key id>:<base64url of nonce, ciphertext, tag>`; prefix and key id are authenticated.
 */
export const createSealer = (keys: string): Sealer => {
  const ring = new Map(
    keys.split(',').map((text): [string, Buffer] => {
      const key = Buffer.from(text.trim(), 'base64');
      if (key.length !== 32) throw new Fault('INPUT_INVALID', 'a sealing key must be 32 bytes in base64');
      return [keyIdOf(key), key];
    }),
  );
  const [currentId] = ring.keys();
  return { seal: (plain) => seal(ring, currentId ?? '', plain), open: (sealed) => open(ring, sealed) };
};

const keyOf = (ring: ReadonlyMap<string, Buffer>, id: string): Buffer => {
  const key = ring.get(id);
  if (!key) throw new Fault('INPUT_INVALID', `sealed with key ${id}, which is not this installation’s`);
  return key;
};

const seal = (ring: ReadonlyMap<string, Buffer>, id: string, plain: string): Sealed => {
  const iv = randomBytes(ivBytes);
  const cipher = createCipheriv('aes-256-gcm', keyOf(ring, id), iv);
  cipher.setAAD(Buffer.from(`${prefix}:${id}`));
  const body = Buffer.concat([iv, cipher.update(plain, 'utf8'), cipher.final(), cipher.getAuthTag()]);
  return `${prefix}:${id}:${body.toString('base64url')}` as Sealed;
};

const open = (ring: ReadonlyMap<string, Buffer>, sealed: string): string => {
  const [, id = '', text = ''] = /^sealed:v1:([0-9a-f]{8}):([A-Za-z0-9_-]+)$/.exec(sealed) ?? [];
  const body = Buffer.from(text, 'base64url');
  if (body.length < ivBytes + tagBytes) throw new Fault('INPUT_INVALID', 'not a sealed value');
  const decipher = createDecipheriv('aes-256-gcm', keyOf(ring, id), body.subarray(0, ivBytes));
  decipher.setAAD(Buffer.from(`${prefix}:${id}`));
  decipher.setAuthTag(body.subarray(-tagBytes));
  try {
    return decipher.update(body.subarray(ivBytes, -tagBytes), undefined, 'utf8') + decipher.final('utf8');
  } catch {
    throw new Fault('INPUT_INVALID', 'a sealed value was altered');
  }
};
