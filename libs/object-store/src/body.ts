import { Fault } from '@casvault/contracts';
import { type GetOptions } from './object-store.js';

export type Body = Uint8Array | readonly Uint8Array[];

export const bodyParts = (body: Body): readonly Uint8Array[] => (body instanceof Uint8Array ? [body] : body);

/** Where and how much a get reads, checked against the object's size. */
export interface ReadPlan {
  readonly offset: number;
  readonly length: number;
}

export const requireRange = ({ range }: GetOptions): void => {
  if (range === undefined) return;
  const whole = Number.isSafeInteger(range.offset) && Number.isSafeInteger(range.length);
  if (!whole || range.offset < 0 || range.length < 1) {
    throw new Fault('INPUT_INVALID', `range of ${range.length} bytes at ${range.offset} is not allowed`);
  }
};

export const planRead = (key: string, sizeBytes: number, { range, into }: GetOptions): ReadPlan => {
  const plan = range ?? { offset: 0, length: sizeBytes };
  if (plan.offset + plan.length > sizeBytes) throw shortObject(key, sizeBytes, plan);
  if (into !== undefined && into.length < plan.length) throw smallBuffer(key, plan.length, into.length);
  return plan;
};

export const shortObject = (key: string, sizeBytes: number, wanted: ReadPlan): Fault =>
  new Fault(
    'POOL_OBJECT_DAMAGED',
    `object ${key} holds ${sizeBytes} bytes; ${wanted.length} at ${wanted.offset} were expected`,
    { details: { key } },
  );

const smallBuffer = (key: string, needed: number, given: number): Fault =>
  new Fault('INPUT_INVALID', `object ${key} needs a buffer of ${needed} bytes, ${given} were given`);

export const missingObject = (key: string): Fault =>
  new Fault('POOL_OBJECT_MISSING', `object ${key} is not in the pool`, { details: { key } });

export const existingObject = (key: string): Fault =>
  new Fault('POOL_OBJECT_EXISTS', `object ${key} exists already`, { details: { key } });

export const requireGoing = (signal: AbortSignal | undefined): void => {
  if (signal?.aborted === true) throw Fault.ofAbort(signal);
};
