import { createHash, randomBytes } from 'node:crypto';
import { hash, verify } from '@node-rs/argon2';

/** OWASP's first choice for argon2id (19 MiB, 2 passes), the library's default algorithm. */
const cost = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };

export const hashPassword = (password: string): Promise<string> => hash(password, cost);

/** Of a password that nobody has: unknown users cost the same work as known ones. */
const nobody = hashPassword(randomBytes(32).toString('base64'));

/** True when `password` belongs to `passwordHash`; null (no such user) takes as long and is false. */
export const passwordMatches = async (passwordHash: string | null, password: string): Promise<boolean> => {
  const matches = await verify(passwordHash ?? (await nobody), password);
  return matches && passwordHash !== null;
};

/** 160 bits as 32 characters without those that are easily mixed up. */
export const generatePassword = (): string => {
  const alphabet = 'abcdefghjkmnpqrstuvwxyz23456789!';
  return [...randomBytes(32)].map((byte) => alphabet.charAt(byte % 32)).join('');
};

/** A bearer token of 256 bits; the prefix lets secret scanners find it. */
export const generateToken = (kind: 'session' | 'token'): string =>
  `cv${kind === 'session' ? 's' : 't'}_${randomBytes(32).toString('base64url')}`;

/** Tokens have 256 bits of entropy: one plain hash is enough, and is what the gateway sends. */
export const hashToken = (token: string): string => createHash('sha256').update(token).digest('hex');
