import { createHash, createHmac, timingSafeEqual } from 'node:crypto';

/** The realm that a real CVM sends: clients scope their credentials by it. */
export const realm = 'VMC RESTful Web Services';
const nonceLifetimeMs = 300_000;

const md5 = (text: string): string => createHash('md5').update(text).digest('hex');

/** A nonce carries its time and our mark, so that none need be remembered. */
export function makeNonce(key: Buffer, now: Date): string {
  const time = now.getTime().toString(36);
  return `${time}.${createHmac('sha256', key).update(time).digest('hex').slice(0, 24)}`;
}

export type NonceVerdict = 'fresh' | 'stale' | 'foreign';
export function judgeNonce(key: Buffer, nonce: string, now: Date): NonceVerdict {
  const made = new Date(Number.parseInt(nonce.split('.')[0] ?? '', 36));
  if (Number.isNaN(made.getTime()) || makeNonce(key, made) !== nonce) return 'foreign';
  return now.getTime() - made.getTime() > nonceLifetimeMs ? 'stale' : 'fresh';
}

/** `WWW-Authenticate`; without `qop` it is the challenge of RFC 2069, which a client must take too. */
export function challenge(nonce: string, options: { stale: boolean; qop: boolean }): string {
  const fields = [`realm="${realm}"`, ...(options.qop ? ['qop="auth"'] : []), `nonce="${nonce}"`];
  if (options.stale) fields.push('stale=true');
  return `Digest ${fields.join(', ')}`;
}

export interface DigestAnswer {
  readonly username: string;
  readonly realm: string;
  readonly nonce: string;
  readonly uri: string;
  readonly response: string;
  readonly qop: string | undefined;
  readonly nc: string | undefined;
  readonly cnonce: string | undefined;
}

/** An `Authorization` header of the Digest scheme; null for anything else. */
export function parseAuthorization(header: string): DigestAnswer | null {
  if (!/^digest\s/i.test(header)) return null;
  const fields = new Map<string, string>();
  for (const [, name, quoted, plain] of header.matchAll(/(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))/g)) {
    if (name !== undefined) fields.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '');
  }
  const field = (name: string): string => fields.get(name) ?? '';
  return {
    username: field('username'),
    realm: field('realm'),
    nonce: field('nonce'),
    uri: field('uri'),
    response: field('response'),
    qop: fields.get('qop'),
    nc: fields.get('nc'),
    cnonce: fields.get('cnonce'),
  };
}

/** Whether the answer was made with this password for this request (RFC 2617, MD5, `auth` or no quality). */
export function isRightAnswer(
  answer: DigestAnswer,
  password: string,
  request: { method: string; url: string },
): boolean {
  if (answer.realm !== realm || answer.uri !== request.url) return false;
  const secret = md5(`${answer.username}:${realm}:${password}`);
  const what = md5(`${request.method}:${answer.uri}`);
  const between = answer.qop === undefined ? [] : [answer.nc ?? '', answer.cnonce ?? '', answer.qop];
  const wanted = Buffer.from(md5([secret, answer.nonce, ...between, what].join(':')));
  const given = Buffer.from(answer.response);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}
