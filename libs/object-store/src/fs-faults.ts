import { Fault, type FaultCode } from '@casvault/contracts';

const codes: Readonly<Record<string, FaultCode>> = {
  ENOSPC: 'POOL_FULL',
  EDQUOT: 'POOL_FULL',
  EFBIG: 'POOL_FULL',
  EACCES: 'POOL_ACCESS_DENIED',
  EPERM: 'POOL_ACCESS_DENIED',
  EROFS: 'POOL_ACCESS_DENIED',
  EEXIST: 'INPUT_INVALID',
  EISDIR: 'INPUT_INVALID',
  ENOTDIR: 'INPUT_INVALID',
  ENAMETOOLONG: 'INPUT_INVALID',
};

/** What an operator does about it. */
const meanings: Partial<Record<FaultCode, string>> = {
  POOL_FULL: 'the pool is full',
  POOL_ACCESS_DENIED: 'the pool may not be written or read by this process',
  POOL_UNREACHABLE: 'the pool cannot be reached',
};

/** The errno name of a system error, e.g. `ENOENT`; null for anything else. Its class is not asked: realms differ. */
export const errnoOf = (error: unknown): string | null =>
  typeof error === 'object' &&
  error !== null &&
  'syscall' in error &&
  'code' in error &&
  typeof error.code === 'string'
    ? error.code
    : null;

/** A system error as the pool's fault; other errors pass through `Fault.from`. Every other errno counts as unreachable. */
export const fsFault = (what: string, error: unknown): Fault => {
  const errno = errnoOf(error);
  if (errno === null) return Fault.from(error);
  const code = codes[errno] ?? 'POOL_UNREACHABLE';
  const meaning = meanings[code];
  return new Fault(code, `${meaning === undefined ? '' : `${meaning}: `}${what} failed with ${errno}`, {
    details: { errno },
    cause: error,
  });
};
