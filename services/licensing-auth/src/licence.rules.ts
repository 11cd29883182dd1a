import { type Licence, type LicenceTerms } from '@casvault/contracts';

const dayMs = 86_400_000;

/** B1: for so long before its end a licence is shown as expiring. */
export const expiringForMs = 30 * dayMs;

const leftMsOf = ({ expiresAt }: Pick<LicenceTerms, 'expiresAt'>, now: Date): number =>
  expiresAt === null ? Infinity : Date.parse(expiresAt) - now.getTime();

/** Of a licence that is signed with a trusted key. It ends at its last instant, not after it. */
export const stateOfLicence = (
  terms: Pick<LicenceTerms, 'expiresAt'>,
  now: Date,
): Exclude<Licence['state'], 'untrusted'> => {
  const leftMs = leftMsOf(terms, now);
  if (leftMs <= 0) return 'expired';
  return leftMs <= expiringForMs ? 'expiring' : 'valid';
};

/** Whether it allows anything now. */
export const isInForce = ({ state }: Pick<Licence, 'state'>): boolean =>
  state === 'valid' || state === 'expiring';

/** For how many days more it allows what it names: 0 when it does not now, Infinity when it does not end. */
export const daysLeftOf = (licence: Pick<Licence, 'state' | 'expiresAt'>, now: Date): number =>
  isInForce(licence) ? leftMsOf(licence, now) / dayMs : 0;
