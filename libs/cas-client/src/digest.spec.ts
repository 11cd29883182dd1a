import { digestAuthorization, DigestSession, parseChallenge } from './digest.js';

const challenge = (header: string) => {
  const parsed = parseChallenge(header);
  if (parsed === null) throw new TypeError('no challenge');
  return parsed;
};
const responseOf = (header: string) => /response="([0-9a-f]+)"/.exec(header)?.[1];

describe('digest authentication', () => {
  // RFC 7616, section 3.9.1.
  const rfc = (algorithm: string) =>
    challenge(
      `Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=${algorithm}, ` +
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"',
    );
  const mufasa = { userName: 'Mufasa', password: 'Circle of Life' };
  const request = {
    method: 'GET',
    uri: '/dir/index.html',
    count: 1,
    clientNonce: 'f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ',
  };

  it('gives the responses of RFC 7616 for MD5 and SHA-256', () => {
    expect(responseOf(digestAuthorization(rfc('MD5'), mufasa, request))).toBe(
      '8ca523f5e9506fed4657c9700eebdbec',
    );
    expect(responseOf(digestAuthorization(rfc('SHA-256'), mufasa, request))).toBe(
      '753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1',
    );
  });

  it('answers a challenge without qop as RFC 2069 says', () => {
    const old = challenge('Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"');
    const header = digestAuthorization(
      old,
      { userName: 'Mufasa', password: 'CircleOfLife' },
      { ...request, uri: '/dir/index.html' },
    );
    expect(responseOf(header)).toBe('1949323746fe6a43ef61f9606e7febea');
    expect(header).not.toContain('nc=');
  });

  it('finds the digest among several schemes, and refuses what it cannot answer', () => {
    const found = parseChallenge(
      'Basic realm="b", Digest realm="VMC RESTful Web Services", nonce="n,1", stale=TRUE',
    );
    expect(found).toMatchObject({
      realm: 'VMC RESTful Web Services',
      nonce: 'n,1',
      stale: true,
      qop: undefined,
    });
    expect(parseChallenge('Basic realm="b"')).toBeNull();
    expect(parseChallenge('Digest realm="r", nonce="n", qop="auth-int"')).toBeNull();
    expect(parseChallenge('Digest realm="r", nonce="n", algorithm=SHA-512-256')).toBeNull();
  });

  it('goes on counting when two requests at once are given the same nonce', () => {
    const session = new DigestSession({ userName: 'u', password: 'p' });
    const given = 'Digest realm="r", nonce="n", qop="auth"';
    session.accept(given);
    expect(session.authorization('GET', '/')).toContain('nc=00000001');
    session.accept(given);
    expect(session.authorization('GET', '/')).toContain('nc=00000002');
  });

  it('counts the uses of one nonce and begins again with the next', () => {
    const session = new DigestSession({ userName: 'a', password: 'p' });
    expect(session.authorization('GET', '/x')).toBeNull();
    session.accept('Digest realm="r", nonce="one", qop="auth"');
    expect(session.authorization('GET', '/x')).toContain('nc=00000001');
    expect(session.authorization('GET', '/x')).toContain('nc=00000002');
    session.accept('Digest realm="r", nonce="two", qop="auth"');
    expect(session.authorization('GET', '/x')).toContain('nc=00000001');
  });
});
