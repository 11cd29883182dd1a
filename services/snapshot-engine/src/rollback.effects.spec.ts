import { Fault, newId, type VmId } from '@casvault/contracts';
import { attemptLimits } from './deadlines.js';
import { retryRollback } from './rollback.effects.js';
import { type RollbackEffect } from './rollback.machine.js';
import { sampleRollbackVm } from './testing/samples.js';

const request = sampleRollbackVm(newId());
const vmId = newId<VmId>();
const refused = new Fault('PLATFORM_TASK_FAILED', 'an image of the VM is in use');
const delayOf = (effect: RollbackEffect, attempt: number): number | null =>
  retryRollback(effect, { fault: refused, attempt, done: false });

describe('what a roll-back does again', () => {
  it('R6: goes on asking a platform that refuses to start the VM, for minutes', () => {
    const start = { type: 'startVm', request, vmId, wasOffToo: false } as const;
    const delays = Array.from({ length: attemptLimits.startVm - 1 }, (_, i) => delayOf(start, i + 1) ?? NaN);
    const waitedMs = delays.reduce((sum, ms) => sum + ms, 0);
    expect(waitedMs).toBeGreaterThan(4 * 60_000);
    expect(waitedMs).toBeLessThan(6 * 60_000);
    expect(delayOf(start, attemptLimits.startVm)).toBeNull();
  });

  it('takes a refusal to do anything else as final', () => {
    expect(delayOf({ type: 'shutDown', request, vmId }, 1)).toBeNull();
    expect(delayOf({ type: 'removeCheckpoints', vmId }, 1)).toBeNull();
  });
});
