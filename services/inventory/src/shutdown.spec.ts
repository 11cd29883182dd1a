import { type CasPowerState } from '@casvault/cas-client';
import { newId, type PlatformId, type RunItemId, type VmId } from '@casvault/contracts';
import { decideShutdown, decideStart, type Shutdown, type ShutdownState } from './shutdown.js';

const askedAt = new Date('2026-01-01T00:00:00Z');
const shutdown = (state: ShutdownState, wasRunning = true): Shutdown => ({
  itemId: newId<RunItemId>(),
  vmId: newId<VmId>(),
  platformId: newId<PlatformId>(),
  state,
  wasRunning,
  askedAt,
});

describe('whether a VM is shut down', () => {
  it.each<[string, Shutdown | null, CasPowerState, string]>([
    ['a running one', null, 'running', 'ask'],
    ['one that is off', null, 'stopped', 'already-down'],
    ['asked before, and it did', shutdown('asked'), 'stopped', 'already-down'],
    ['asked before, the answer unknown: it has its time', shutdown('asked'), 'running', 'wait'],
    ['refused before: the same answer', shutdown('refused'), 'running', 'wait'],
    ['started by itself since it was down: again', shutdown('down'), 'running', 'ask'],
  ])('%s', (_, earlier, power, step) => {
    expect(decideShutdown(earlier, power)).toBe(step);
  });
  it.each<[string, Shutdown | null, CasPowerState, string]>([
    ['R11: a paused one', null, 'paused', 'VM_STATE_REFUSED'],
    ['R11: a migrating one', null, 'migrating', 'VM_STATE_REFUSED'],
    ['one of which nothing is known', null, 'unknown', 'VM_STATE_REFUSED'],
    ['one that another started', shutdown('down', false), 'running', 'VM_STATE_REFUSED'],
    ['one that is being given back: the message is late', shutdown('starting'), 'stopped', 'CONFLICT'],
    ['one that was given back: the message is late', shutdown('ended'), 'running', 'CONFLICT'],
  ])('%s is refused', (_, earlier, power, code) => {
    expect(() => decideShutdown(earlier, power)).toThrow(expect.objectContaining({ code }) as Error);
  });
});

describe('whether a VM is started', () => {
  const soon = new Date(askedAt.getTime() + 60_000);
  const late = new Date(askedAt.getTime() + 3_600_000);
  it.each<[string, Shutdown, CasPowerState, Date, string]>([
    ['shut down by the item', shutdown('down'), 'stopped', late, 'start'],
    ['the item died between the intent and the answer', shutdown('asked'), 'stopped', soon, 'start'],
    ['followed the request late', shutdown('refused'), 'stopped', soon, 'start'],
    ['the item died while it started it', shutdown('starting'), 'stopped', late, 'start'],
    ['runs again, of which its item has not heard', shutdown('starting'), 'running', soon, 'end'],
    ['off before the item came', shutdown('down', false), 'stopped', soon, 'end'],
    ['given back before', shutdown('ended'), 'stopped', soon, 'end'],
    ['runs already', shutdown('down'), 'running', soon, 'end'],
    ['runs, may still follow', shutdown('refused'), 'running', soon, 'watch'],
    ['runs, asked and no answer', shutdown('asked'), 'running', soon, 'watch'],
    ['runs long after', shutdown('refused'), 'running', late, 'end'],
    ['paused by another', shutdown('down'), 'paused', soon, 'end'],
  ])('%s', (_, record, power, now, step) => {
    expect(decideStart(record, power, now)).toBe(step);
  });
  it('is not guessed', () => {
    expect(() => decideStart(shutdown('down'), 'unknown', soon)).toThrow(
      expect.objectContaining({ code: 'PLATFORM_BUSY' }) as Error,
    );
  });
});
