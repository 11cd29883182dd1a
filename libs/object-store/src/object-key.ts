import { Fault } from '@casvault/contracts';

/**
 * Keys are folders and a name out of `A-Z a-z 0-9 . _ -`, parted by `/`: what every medium stores as it is. No segment is
 * `.` or `..`; no key is the folder of another one.
 */
const keyRule = /^[A-Za-z0-9._-]+(?:\/[A-Za-z0-9._-]+)*$/;
const prefixRule = /^[A-Za-z0-9._/-]*$/;
/** Leaves room for a pool's prefix in S3's 1024 bytes, and for temporary names in a file system's 255. */
export const maxKeyLength = 512;
export const maxSegmentLength = 200;

/** Whether a string may be a key. */
export const isObjectKey = (key: string): boolean =>
  key.length <= maxKeyLength && keyRule.test(key) && key.split('/').every(isSegment);

const isSegment = (segment: string): boolean =>
  segment !== '.' && segment !== '..' && segment.length <= maxSegmentLength;

/** Refuses what can't be a key with INPUT_INVALID. */
export const requireObjectKey = (key: string): void => {
  if (!isObjectKey(key)) {
    throw new Fault('INPUT_INVALID', `object key ${JSON.stringify(key.slice(0, 100))} is not allowed`);
  }
};

/** Refuses what no key starts with. */
export const requireKeyPrefix = (prefix: string): void => {
  const ok = prefixRule.test(prefix) && !prefix.startsWith('/') && !prefix.includes('//');
  if (!ok || prefix.split('/').includes('..')) {
    throw new Fault('INPUT_INVALID', `key prefix ${JSON.stringify(prefix.slice(0, 100))} is not allowed`);
  }
};
