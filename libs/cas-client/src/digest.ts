import { createHash, randomBytes } from 'node:crypto';

/**
 * HTTP Digest access authentication, client side (RFC 7616, and RFC 2617 for servers without `qop`).
 * One nonce is used for many requests with a rising count, so a synchronisation does not ask everything twice.
 */
export interface DigestChallenge {
  readonly realm: string;
  readonly nonce: string;
  readonly opaque: string | undefined;
  readonly algorithm: 'MD5' | 'MD5-sess' | 'SHA-256' | 'SHA-256-sess';
  readonly qop: 'auth' | undefined;
  readonly stale: boolean;
}

const parameter = /([a-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/gi;
const algorithms: readonly DigestChallenge['algorithm'][] = ['MD5', 'MD5-sess', 'SHA-256', 'SHA-256-sess'];

const fieldsOf = (challenge: string): Map<string, string> => {
  const fields = new Map<string, string>();
  for (const [, name, quoted, bare] of challenge.matchAll(parameter)) {
    const key = (name ?? '').toLowerCase();
    // The first value counts: what follows may belong to another scheme's challenge.
    if (!fields.has(key)) fields.set(key, quoted?.replace(/\\(.)/g, '$1') ?? bare ?? '');
  }
  return fields;
};

/** Reads the Digest challenge out of `WWW-Authenticate`; null when there is none that this client can answer. */
export const parseChallenge = (header: string): DigestChallenge | null => {
  const start = header.search(/(^|,\s*)Digest\s/i);
  if (start < 0) return null;
  const fields = fieldsOf(header.slice(start));
  const realm = fields.get('realm');
  const nonce = fields.get('nonce');
  const named = fields.get('algorithm') ?? 'MD5';
  const algorithm = algorithms.find((known) => known.toLowerCase() === named.toLowerCase());
  const offered = (fields.get('qop') ?? '').split(/[\s,]+/).filter((item) => item !== '');
  const usable = offered.length === 0 || offered.includes('auth');
  if (realm === undefined || nonce === undefined || algorithm === undefined || !usable) return null;
  return {
    realm,
    nonce,
    opaque: fields.get('opaque'),
    algorithm,
    qop: offered.length === 0 ? undefined : 'auth',
    stale: fields.get('stale')?.toLowerCase() === 'true',
  };
};

/** What one request is answered with; `count` begins at 1 for a nonce and never repeats. */
export interface DigestRequest {
  readonly method: string;
  /** Path with query, exactly as in the request line. */
  readonly uri: string;
  readonly count: number;
  readonly clientNonce: string;
}

const quote = (value: string): string => `"${value.replace(/["\\]/g, '\\$&')}"`;

/** The value of the `Authorization` header. */
export const digestAuthorization = (
  challenge: DigestChallenge,
  credentials: { userName: string; password: string },
  request: DigestRequest,
): string => {
  const hashName = challenge.algorithm.startsWith('SHA-256') ? 'sha256' : 'md5';
  const hash = (text: string) => createHash(hashName).update(text, 'utf8').digest('hex');
  const { realm, nonce, opaque, algorithm, qop } = challenge;
  const count = request.count.toString(16).padStart(8, '0');
  const base = hash(`${credentials.userName}:${realm}:${credentials.password}`);
  const secret = algorithm.endsWith('-sess') ? hash(`${base}:${nonce}:${request.clientNonce}`) : base;
  const what = hash(`${request.method}:${request.uri}`);
  const response =
    qop === undefined
      ? hash(`${secret}:${nonce}:${what}`)
      : hash(`${secret}:${nonce}:${count}:${request.clientNonce}:${qop}:${what}`);
  const fields = [
    `username=${quote(credentials.userName)}`,
    `realm=${quote(realm)}`,
    `nonce=${quote(nonce)}`,
    `uri=${quote(request.uri)}`,
    `algorithm=${algorithm}`,
    `response="${response}"`,
  ];
  if (qop !== undefined) fields.push(`qop=${qop}`, `nc=${count}`);
  if (qop !== undefined || algorithm.endsWith('-sess')) fields.push(`cnonce="${request.clientNonce}"`);
  if (opaque !== undefined) fields.push(`opaque=${quote(opaque)}`);
  return `Digest ${fields.join(', ')}`;
};

/** The present challenge of one server and how often its nonce was used. */
export class DigestSession {
  private challenge: DigestChallenge | null = null;
  private count = 0;

  constructor(private readonly credentials: { userName: string; password: string }) {}

  /** Null before the first challenge: the request then goes out without it and is answered with 401. */
  authorization(method: string, uri: string): string | null {
    if (this.challenge === null) return null;
    this.count += 1;
    const clientNonce = randomBytes(8).toString('hex');
    return digestAuthorization(this.challenge, this.credentials, {
      method,
      uri,
      count: this.count,
      clientNonce,
    });
  }

  /** Takes up a challenge; false when the header holds none that can be answered. */
  accept(header: string): boolean {
    const challenge = parseChallenge(header);
    if (challenge === null) return false;
    // Two requests at once may both be given the nonce that is in use already: its count goes on.
    if (this.challenge?.nonce !== challenge.nonce) this.count = 0;
    this.challenge = challenge;
    return true;
  }
}
