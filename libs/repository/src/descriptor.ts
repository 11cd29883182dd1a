import { scryptSync } from 'node:crypto';
import { Fault, instantSchema } from '@casvault/contracts';
import { z } from 'zod';
import { asBuffer, damaged, unsupported, uuidBytes } from './bytes.js';
import { hashNames, openDigest } from './digest.js';
import { BLOCK_BYTES, DESCRIPTOR_KEY, FORMAT_VERSION, GROUP_BYTES } from './layout.js';
import { requireKey, seal, unseal } from './suite.js';

const base64Schema = z.base64().max(1024);
const wrappingSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('scrypt'),
    N: z
      .int()
      .min(2 ** 14)
      .max(2 ** 20),
    r: z.int().min(1).max(16),
    p: z.int().min(1).max(4),
    salt: base64Schema,
  }),
  z.object({ kind: z.literal('raw'), keyId: z.string().min(1).max(128) }),
]);
const encryptionSchema = z.discriminatedUnion('mode', [
  z.object({ mode: z.literal('none') }),
  z.object({
    mode: z.literal('aes-256-gcm'),
    /** The same master key, wrapped once for each passphrase or key that opens it. */
    masterKeys: z
      .array(z.object({ wrapping: wrappingSchema, wrapped: base64Schema }))
      .min(1)
      .max(16),
  }),
]);
const descriptorSchema = z.object({
  format: z.literal('casvault repository'),
  version: z.literal(FORMAT_VERSION),
  repositoryId: z.uuid(),
  blockBytes: z.literal(BLOCK_BYTES),
  groupBytes: z.literal(GROUP_BYTES),
  hash: z.enum(hashNames),
  dedupScope: z.enum(['chain', 'pool']),
  encryption: encryptionSchema,
  createdAt: instantSchema,
});
/** What `repository.json` says. Frozen when the repository is made, but for the wrapped copies of its master key. */
export type Descriptor = z.infer<typeof descriptorSchema>;
export type MasterKeyWrapping = z.infer<typeof wrappingSchema>;

/** Opens a wrapped master key: a passphrase, or 32 bytes known to the installation by `keyId`. */
export type RepositoryKey =
  | { readonly kind: 'passphrase'; readonly passphrase: string }
  | { readonly kind: 'raw'; readonly keyId: string; readonly key: Uint8Array };

const checkIntro = ',\n  "check": "';

/** Indented JSON whose last member is the SHA-256 of all bytes before it: people can read it, a flipped bit is seen. */
export function encodeDescriptor(descriptor: Descriptor): Buffer {
  const body = JSON.stringify(descriptorSchema.parse(descriptor), null, 2).slice(0, -2);
  const bytes = Buffer.from(`${body}${checkIntro}${checkOf(body)}"\n}\n`);
  decodeDescriptor(bytes);
  return bytes;
}

const checkOf = (body: string): string => openDigest('sha256', null)(Buffer.from(body)).toString('hex');

export function decodeDescriptor(bytes: Uint8Array): Descriptor {
  const text = asBuffer(bytes).toString('utf8');
  const at = text.lastIndexOf(checkIntro);
  if (at < 0 || text.slice(at + checkIntro.length) !== `${checkOf(text.slice(0, at))}"\n}\n`) {
    throw damaged(DESCRIPTOR_KEY, 'its check member is not the hash of what stands before it');
  }
  const value: unknown = JSON.parse(text);
  const known = z.object({ format: z.string(), version: z.number() }).safeParse(value);
  if (known.success && known.data.version !== FORMAT_VERSION) {
    throw unsupported(DESCRIPTOR_KEY, `repository version ${known.data.version}`);
  }
  const parsed = descriptorSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw unsupported(DESCRIPTOR_KEY, `${issue.path.join('.')}: ${issue.message}`);
  }
  return parsed.data;
}

/** `casvault master key 1` and the repository's id: a wrapped key opens in its own repository alone. */
const wrapAad = (repositoryId: string): Buffer =>
  Buffer.concat([Buffer.from('casvault master key 1\0', 'latin1'), uuidBytes(repositoryId)]);

export function wrapMasterKey(
  repositoryId: string,
  masterKey: Uint8Array,
  key: RepositoryKey,
  scrypt: { N: number; r: number; p: number; salt: Uint8Array },
): { wrapping: MasterKeyWrapping; wrapped: string } {
  requireKey(masterKey.length, 'a master key');
  const wrapping: MasterKeyWrapping =
    key.kind === 'raw'
      ? { kind: 'raw', keyId: key.keyId }
      : { kind: 'scrypt', ...scrypt, salt: Buffer.from(scrypt.salt).toString('base64') };
  const wrapped = seal(wrappingKey(wrapping, key)!, wrapAad(repositoryId), masterKey);
  return { wrapping, wrapped: wrapped.toString('base64') };
}

function wrappingKey(wrapping: MasterKeyWrapping, key: RepositoryKey): Uint8Array | null {
  if (wrapping.kind === 'raw') {
    if (key.kind !== 'raw' || key.keyId !== wrapping.keyId) return null;
    requireKey(key.key.length, `key ${key.keyId}`);
    return key.key;
  }
  if (key.kind !== 'passphrase') return null;
  const { N, r, p } = wrapping;
  const options = { N, r, p, maxmem: 256 * N * r };
  return scryptSync(Buffer.from(key.passphrase, 'utf8'), Buffer.from(wrapping.salt, 'base64'), 32, options);
}

/** The master key, null in a repository without encryption. POOL_KEY_WRONG when `key` opens none of its copies. */
export function unwrapMasterKey(descriptor: Descriptor, key: RepositoryKey | null): Buffer | null {
  const { encryption, repositoryId } = descriptor;
  if (encryption.mode === 'none') return null;
  if (key === null) throw new Fault('POOL_KEY_WRONG', 'the repository is encrypted and no key was given');
  for (const { wrapping, wrapped } of encryption.masterKeys) {
    const wrapper = wrappingKey(wrapping, key);
    if (wrapper === null) continue;
    const masterKey = unseal(wrapper, wrapAad(repositoryId), Buffer.from(wrapped, 'base64'));
    if (masterKey?.length === 32) return masterKey;
  }
  throw new Fault('POOL_KEY_WRONG', 'the key opens no copy of the master key of the repository', {
    details: { repositoryId },
  });
}
