import { Fault, newId, type LicenceId, type LicenceTerms } from '@casvault/contracts';
import fc from 'fast-check';
import { CompactSign, importJWK } from 'jose';
import {
  claimedTerms,
  isLicenceKey,
  issueLicence,
  newLicenceKey,
  readLicence,
  type LicenceKey,
} from './licence.js';

const terms: LicenceTerms = {
  id: newId<LicenceId>(),
  holder: 'Example GmbH',
  modules: { 'backup-host': 20, 'h3c-cas': 2 },
  features: ['advanced'],
  issuedAt: '2026-01-01T00:00:00.000Z',
  expiresAt: null,
};

describe('B1: a licence', () => {
  let own: LicenceKey;
  let other: LicenceKey;
  beforeAll(async () => {
    [own, other] = [await newLicenceKey(), await newLicenceKey()];
  });

  const faultOf = async (work: Promise<unknown>): Promise<Fault> => {
    const error: unknown = await work.then(
      () => null,
      (reason: unknown) => reason,
    );
    if (!Fault.is(error)) throw new Error(`expected a fault, got ${String(error)}`);
    return error;
  };

  it('says what was signed, to whoever trusts the key, among others', async () => {
    const text = await issueLicence(terms, own.privateKey);
    expect(await readLicence(`\n${text}\n`, [other.publicKey, own.publicKey])).toEqual(terms);
  });

  it('of terms of whatever kind comes back as it was issued', async () => {
    const name = fc.string({ minLength: 1, maxLength: 64 });
    const instant = fc.date({ min: new Date(0), max: new Date('2199-01-01'), noInvalidDate: true });
    const any = fc.record({
      id: fc.uuid({ version: 7 }).map((id) => id as LicenceId),
      holder: fc
        .string({ minLength: 1, maxLength: 128, unit: 'grapheme-ascii' })
        .filter((text) => text.trim() === text),
      modules: fc.dictionary(
        name.filter((key) => key !== '__proto__'),
        fc.nat({ max: 1_000_000 }),
      ),
      features: fc.array(name, { maxLength: 64 }),
      issuedAt: instant.map((date) => date.toISOString()),
      expiresAt: fc.option(instant.map((date) => date.toISOString())),
    });
    await fc.assert(
      fc.asyncProperty(any, async (one) => {
        const read = await readLicence(await issueLicence(one, own.privateKey), [own.publicKey]);
        expect(JSON.parse(JSON.stringify(read))).toEqual(JSON.parse(JSON.stringify(one)));
      }),
      { numRuns: 100 },
    );
  });

  it('with any character changed is none, and the fault does not repeat it', async () => {
    const text = await issueLicence(terms, own.privateKey);
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.';
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: text.length - 1 }), fc.constantFrom(...alphabet), async (at, char) => {
        const damaged = text.slice(0, at) + char + text.slice(at + 1);
        fc.pre(!sameBytes(damaged, text));
        const { code, message } = await faultOf(readLicence(damaged, [own.publicKey]));
        expect(code).toBe('LICENCE_INVALID');
        expect(message).not.toContain(text.slice(0, 40));
      }),
      { numRuns: 300 },
    );
  });

  it('of another issuer, of nobody that is trusted, or of another kind is refused, each with its reason', async () => {
    const text = await issueLicence(terms, own.privateKey);
    expect((await faultOf(readLicence(text, [other.publicKey]))).message).toMatch(/not signed with a key/);
    expect((await faultOf(readLicence(text, []))).message).toMatch(/trusts no key/);
    const key = await importJWK(own.privateKey, 'Ed25519');
    const sign = (payload: string, typ: string) =>
      new CompactSign(Buffer.from(payload)).setProtectedHeader({ alg: 'Ed25519', typ }).sign(key);
    const session = await sign(JSON.stringify(terms), 'JWT');
    expect((await faultOf(readLicence(session, [own.publicKey]))).message).toMatch(/is not a licence/);
    const empty = await sign('{}', 'casvault-licence-v1');
    expect((await faultOf(readLicence(empty, [own.publicKey]))).message).toMatch(/terms are not those/);
  });

  it('can be shown as it was signed, by whomever', async () => {
    expect(claimedTerms(await issueLicence(terms, other.privateKey))).toEqual(terms);
    expect(() => claimedTerms('not a licence')).toThrow(/terms are not those/);
  });

  it('is not issued on terms that break a rule', async () => {
    await expect(issueLicence({ ...terms, holder: ' ' }, own.privateKey)).rejects.toThrow(/holder/);
    await expect(issueLicence({ ...terms, modules: { 'h3c-cas': -1 } }, own.privateKey)).rejects.toThrow(
      /h3c-cas/,
    );
  });

  it('is trusted by a key of 32 bytes in base64url', () => {
    expect(isLicenceKey(own.publicKey)).toBe(true);
    for (const wrong of ['', 'key', own.publicKey.slice(1), `${own.publicKey}A`])
      expect(isLicenceKey(wrong)).toBe(false);
  });
});

/** The last character of a part holds fewer bits than it can say: some changes of it change nothing. */
function sameBytes(one: string, other: string): boolean {
  const [a, b] = [one, other].map((text) =>
    text.split('.').map((part) => Buffer.from(part, 'base64url').toString('hex')),
  );
  return String(a) === String(b);
}
