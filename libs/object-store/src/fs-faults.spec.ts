import { Fault, type FaultCode } from '@casvault/contracts';
import { fsFault } from './fs-faults.js';

const systemError = (code: string): Error =>
  Object.assign(new Error(`${code}: oh`), { code, syscall: 'write' });

describe('fsFault', () => {
  it.each<[string, FaultCode]>([
    ['ENOSPC', 'POOL_FULL'],
    ['EDQUOT', 'POOL_FULL'],
    ['EACCES', 'POOL_ACCESS_DENIED'],
    ['EPERM', 'POOL_ACCESS_DENIED'],
    ['EROFS', 'POOL_ACCESS_DENIED'],
    ['ENOENT', 'POOL_UNREACHABLE'],
    ['EIO', 'POOL_UNREACHABLE'],
    ['ESTALE', 'POOL_UNREACHABLE'],
    ['ENOTCONN', 'POOL_UNREACHABLE'],
    ['EMFILE', 'POOL_UNREACHABLE'],
  ])('takes %s for %s', (errno, code) => {
    const fault = fsFault('writing object a', systemError(errno));
    expect([fault.code, fault.details]).toEqual([code, { errno }]);
    expect(fault.message).toMatch(new RegExp(`^the pool .+: writing object a failed with ${errno}$`));
  });

  it('passes faults, and calls what is no system error a bug', () => {
    const fault = new Fault('STOPPED', 'stop');
    expect(fsFault('x', fault)).toBe(fault);
    expect(fsFault('x', new TypeError('no')).code).toBe('BUG');
  });
});
