import { environmentOf, faultOfExit } from './hook-transfer.js';

describe('a script of a run', () => {
  it('has the environment that is documented, and nothing of the process that runs it', () => {
    const facts = { CASVAULT_RUN_ID: 'r', CASVAULT_BACKUP_HOST: 'no' };
    expect(environmentOf({ facts }, { name: 'mover-1' }, 2)).toEqual({
      CASVAULT_RUN_ID: 'r',
      CASVAULT_BACKUP_HOST: 'mover-1',
      CASVAULT_ATTEMPT: '2',
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      LC_ALL: 'C.UTF-8',
    });
  });

  const command = { script: 'check', timeoutSeconds: 5 };
  it.each([
    ['itself', 0, null, null],
    ['itself', 3, null, "HOOK_FAILED: script 'check' ended with 3"],
    ['itself', null, 'SIGSEGV', "HOOK_FAILED: script 'check' was ended by SIGSEGV"],
    ['time', 0, null, "DEADLINE_EXCEEDED: script 'check' took longer than 5 seconds, and was ended"],
    ['time', null, 'SIGKILL', "DEADLINE_EXCEEDED: script 'check' took longer than 5 seconds, and was ended"],
    [
      'abort',
      null,
      'SIGTERM',
      "HOOK_FAILED: script 'check' was ended because the mover ends; it is not run again",
    ],
  ] as const)('that ends by %s with %s, %s: %s', (by, exitCode, signal, told) => {
    const fault = faultOfExit(command, { by, exitCode, signal });
    expect(fault && `${fault.code}: ${fault.message}`).toBe(told);
  });
});
