import { createHash } from 'node:crypto';
import { challenge, isRightAnswer, judgeNonce, makeNonce, parseAuthorization, realm } from './digest.js';

const key = Buffer.alloc(32, 7);
const noon = new Date('2026-05-04T12:00:00Z');
const later = (ms: number): Date => new Date(noon.getTime() + ms);
const md5 = (text: string): string => createHash('md5').update(text).digest('hex');

describe('a nonce', () => {
  it('is fresh for five minutes, then stale, and foreign when another key made it', () => {
    const nonce = makeNonce(key, noon);
    expect(judgeNonce(key, nonce, later(299_000))).toBe('fresh');
    expect(judgeNonce(key, nonce, later(301_000))).toBe('stale');
    expect(judgeNonce(Buffer.alloc(32, 8), nonce, noon)).toBe('foreign');
    expect(judgeNonce(key, '', noon)).toBe('foreign');
    expect(judgeNonce(key, `${nonce}0`, noon)).toBe('foreign');
  });
});

describe('a challenge', () => {
  it('names the realm of a CVM, and the quality of protection where it is offered', () => {
    expect(challenge('n', { stale: false, qop: true })).toBe(
      'Digest realm="VMC RESTful Web Services", qop="auth", nonce="n"',
    );
    expect(challenge('n', { stale: true, qop: false })).toBe(
      'Digest realm="VMC RESTful Web Services", nonce="n", stale=true',
    );
  });
});

describe('an answer', () => {
  const request = { method: 'GET', url: '/cas/casrs/host?x=1' };
  const secret = md5(`admin:${realm}:geheim`);
  const what = md5(`GET:${request.url}`);
  const head = `Digest username="admin", realm="${realm}", nonce="N", uri="${request.url}"`;
  const withQop = `${head}, qop=auth, nc=00000001, cnonce="c", response="${md5(`${secret}:N:00000001:c:auth:${what}`)}"`;

  it('is right with its password, for its request alone, with and without a quality of protection', () => {
    const answer = parseAuthorization(withQop);
    if (!answer) throw new Error('not parsed');
    expect(isRightAnswer(answer, 'geheim', request)).toBe(true);
    expect(isRightAnswer(answer, 'other', request)).toBe(false);
    expect(isRightAnswer(answer, 'geheim', { ...request, method: 'PUT' })).toBe(false);
    expect(isRightAnswer(answer, 'geheim', { ...request, url: '/cas/casrs/vm/1' })).toBe(false);
    const plain = parseAuthorization(`${head}, response="${md5(`${secret}:N:${what}`)}"`);
    expect(plain && isRightAnswer(plain, 'geheim', request)).toBe(true);
  });

  it('of another realm is wrong, and one of another scheme is none', () => {
    const foreign = parseAuthorization(withQop.replace(realm, 'elsewhere'));
    expect(foreign && isRightAnswer(foreign, 'geheim', request)).toBe(false);
    expect(parseAuthorization('Basic YTpi')).toBeNull();
  });

  it('may quote its values with escapes', () => {
    expect(parseAuthorization('Digest username="a\\"b", nonce=x')).toMatchObject({
      username: 'a"b',
      nonce: 'x',
    });
  });
});
