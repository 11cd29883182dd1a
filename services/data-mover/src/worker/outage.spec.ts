import { Fault, type Clock } from '@casvault/contracts';
import { Outage } from './outage.js';

describe('Outage', () => {
  const fault = new Fault('POOL_UNREACHABLE', 'away');
  const { signal } = new AbortController();
  let now = 0;
  let slept: number[] = [];
  const clock: Clock = {
    now: () => new Date(now),
    sleep: async (ms) => {
      slept.push(ms);
      now += ms;
    },
  };
  beforeEach(() => {
    now = 0;
    slept = [];
  });

  it('waits longer and longer, and no longer than the reconnect time in all', async () => {
    const outage = new Outage(1, clock, () => now);
    const trouble = async () => {
      for (;;) await outage.wait(fault, signal);
    };
    await expect(trouble()).rejects.toBe(fault);
    expect(slept.slice(0, 7)).toEqual([500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
    expect(now).toBeGreaterThanOrEqual(60_000);
    expect(now).toBeLessThan(60_000 + 15_000);
  });

  it('begins anew after bytes moved', async () => {
    const outage = new Outage(1, clock, () => now);
    await outage.wait(fault, signal);
    now += 59_000;
    outage.over();
    now += 59_000;
    await outage.wait(fault, signal);
    expect(slept).toEqual([500, 500]);
  });
});
