import { Fault, licenceTermsSchema, type LicenceTerms } from '@casvault/contracts';
import { CompactSign, compactVerify, exportJWK, generateKeyPair, importJWK, type JWK } from 'jose';

/*
 * B1: a licence is a JWS in compact form (RFC 7515), signed with Ed25519 (RFC 8037; named as in RFC 9864), with the terms as JSON inside:
 * docs/formats/licence-v1.md. Nobody has to be asked to verify it.
 */

const alg = 'Ed25519';
/** In the protected header: a token that the same key signed for another purpose is no licence. */
const typ = 'casvault-licence-v1';
const curve = { kty: 'OKP', crv: 'Ed25519' } as const;

/** A pair of keys of somebody who issues licences. */
export interface LicenceKey {
  /** What installations are told to trust: 32 bytes in base64url. */
  readonly publicKey: string;
  /** A JSON Web Key. Whoever has it issues licences. */
  readonly privateKey: JWK;
}

export const newLicenceKey = async (): Promise<LicenceKey> => {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = await exportJWK(privateKey);
  return { publicKey: jwk.x ?? '', privateKey: jwk };
};

/** Whether a text has the shape of a public key. */
export const isLicenceKey = (text: string): boolean =>
  /^[A-Za-z0-9_-]{43}$/.test(text) && Buffer.from(text, 'base64url').length === 32;

/** The text of a licence file. Throws when the terms break a rule. */
export const issueLicence = async (terms: LicenceTerms, privateKey: JWK): Promise<string> => {
  const payload = Buffer.from(JSON.stringify(licenceTermsSchema.parse(terms)));
  const key = await importJWK({ ...privateKey, ...curve }, alg);
  return new CompactSign(payload).setProtectedHeader({ alg, typ }).sign(key);
};

const invalid = (rule: string, cause?: unknown): Fault =>
  new Fault('LICENCE_INVALID', `licence: ${rule}`, {
    details: { field: 'licence', rule },
    ...(cause !== undefined && { cause }),
  });

/** What a licence says, once one of the keys has signed it; LICENCE_INVALID, without the text, when none has. Whether it has expired is not looked at. */
export const readLicence = async (text: string, publicKeys: readonly string[]): Promise<LicenceTerms> => {
  if (publicKeys.length === 0) throw invalid('this installation trusts no key: CASVAULT_LICENCE_KEYS');
  return termsIn(await payloadOf(text.trim(), publicKeys));
};

/** What it says, whoever has signed it: to be shown of a licence that was trusted once, never to be believed. */
export const claimedTerms = (text: string): LicenceTerms =>
  termsIn(Buffer.from(text.trim().split('.')[1] ?? '', 'base64url'));

const termsIn = (payload: Uint8Array): LicenceTerms => {
  try {
    return licenceTermsSchema.parse(JSON.parse(Buffer.from(payload).toString()));
  } catch (error) {
    throw invalid('its terms are not those of a licence', error);
  }
};

async function payloadOf(text: string, publicKeys: readonly string[]): Promise<Uint8Array> {
  let cause: unknown;
  for (const x of publicKeys) {
    try {
      const key = await importJWK({ ...curve, x }, alg);
      const { payload, protectedHeader } = await compactVerify(text, key, { algorithms: [alg] });
      if (protectedHeader.typ === typ) return payload;
    } catch (error) {
      cause = error;
    }
  }
  throw invalid('is not a licence, or not signed with a key that this installation trusts', cause);
}
