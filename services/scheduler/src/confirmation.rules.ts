import { createHash } from 'node:crypto';
import { Fault, type JobId } from '@casvault/contracts';

/** F6: how long a code is good. */
export const confirmationMs = 10 * 60_000;
/** How long it is remembered after that, to say why it is not good any more. */
export const rememberedMs = 24 * 3_600_000;

/** A job that was previewed. The code itself is not kept. */
export interface Confirmation {
  readonly actor: string;
  readonly requestHash: string;
  readonly expiresAt: Date;
  /** The job that was submitted with it. */
  readonly jobId: JobId | null;
}

/** What a code is good for. */
export interface Submission {
  readonly name: string;
  readonly definition: unknown;
  readonly plans: unknown;
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Digits and letters that nobody takes for another: no I, L, O, U. */
const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
/** Bytes of randomness that a code takes: 5 bits of each count. */
export const codeBytes = 12;

/** `K7QD-3MZA-X0PW`: 60 bits. */
export const codeOf = (random: Uint8Array): string =>
  Array.from(random.subarray(0, codeBytes), (byte) => alphabet[byte % alphabet.length])
    .join('')
    .replaceAll(/(.{4})(?=.)/g, '$1-');

/** What is kept of a code: small letters and other spaces make no other code. */
export const codeHash = (code: string): string => sha256(code.replaceAll(/[\s-]/g, '').toUpperCase());

const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return Object.fromEntries(
    fields.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, field]) => [name, sorted(field)]),
  );
};

/** The same for requests that ask for the same, whatever the order of their fields. */
export const requestHash = ({ name, definition, plans }: Submission): string =>
  sha256(JSON.stringify(sorted({ name, definition, plans })));

const refuse = (
  code: 'INPUT_INVALID' | 'CONFLICT',
  reason: string,
  rule: string,
  details: Record<string, string> = {},
): Fault =>
  new Fault(code, `confirmation: ${rule}: preview the job and submit it with the code of that (F6)`, {
    details: { field: 'confirmation', reason, ...details },
  });

export const missingCode = (): Fault => refuse('INPUT_INVALID', 'missing', 'is required');

/** F6: why a code is not good for this submission now; null: it is. */
export const refuseCode = (
  found: Confirmation | null,
  asked: Pick<Confirmation, 'actor' | 'requestHash'>,
  now: Date,
): Fault | null => {
  if (found?.actor !== asked.actor)
    return refuse('INPUT_INVALID', 'unknown', `no such code was issued to ${asked.actor}`);
  if (found.requestHash !== asked.requestHash)
    return refuse('INPUT_INVALID', 'other-request', 'was issued for another request');
  if (found.jobId !== null)
    return refuse('CONFLICT', 'used', `was used for job ${found.jobId}`, { jobId: found.jobId });
  if (found.expiresAt.getTime() <= now.getTime())
    return refuse('CONFLICT', 'expired', `expired at ${found.expiresAt.toISOString()}`);
  return null;
};
