import { clearedCookie, sentToken, sessionCookie } from './session-cookie.js';

describe('tokens of a request', () => {
  it.each([
    [{}, null],
    [{ authorization: 'Bearer abc' }, { token: 'abc', from: 'header' }],
    [{ authorization: 'bearer  abc' }, { token: 'abc', from: 'header' }],
    [{ authorization: 'Bearer a b' }, null],
    [{ authorization: `Bearer ${'x'.repeat(513)}` }, null],
    [{ cookie: 'a=b; casvault_session=abc; c=d' }, { token: 'abc', from: 'cookie' }],
    [{ cookie: 'not_casvault_session=abc' }, null],
    [{ cookie: 'casvault_session=' }, null],
    [
      { authorization: 'Bearer abc', cookie: 'casvault_session=def' },
      { token: 'abc', from: 'header' },
    ],
  ])('%j gives %j', (headers, sent) => {
    expect(sentToken(headers)).toEqual(sent);
  });

  it('are kept from scripts, from other sites and, over HTTPS, from HTTP', () => {
    const cookie = sessionCookie('abc', '2026-03-02T21:00:00Z', true);
    expect(cookie).toBe(
      'casvault_session=abc; Expires=Mon, 02 Mar 2026 21:00:00 GMT; Path=/api; HttpOnly; SameSite=Strict; Secure',
    );
    expect(clearedCookie(false)).toBe('casvault_session=; Max-Age=0; Path=/api; HttpOnly; SameSite=Strict');
  });
});
