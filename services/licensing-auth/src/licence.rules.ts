import { type Licence, type LicenceTerms } from '@casvault/contracts';

/** B1: for so long before its end a licence is shown as expiring. */
export const expiringForMs = 30 * 86_400_000;

/** Of a licence that is signed with a trusted key. It ends at its last instant, not after it. */
export const stateOfLicence = (
  { expiresAt }: Pick<LicenceTerms, 'expiresAt'>,
  now: Date,
): Exclude<Licence['state'], 'untrusted'> => {
  if (expiresAt === null) return 'valid';
  const leftMs = Date.parse(expiresAt) - now.getTime();
  if (leftMs <= 0) return 'expired';
  return leftMs <= expiringForMs ? 'expiring' : 'valid';
};
