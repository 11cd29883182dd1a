import { Fault, type Clock } from '@casvault/contracts';
import { Outage } from './outage.js';

describe('Outage', () => {
  const fault = new Fault('POOL_UNREACHABLE', 'away', { details: { pool: 'p' } });
  const unreachable = new Fault('DISK_SERVICE_UNREACHABLE', 'refused');
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
  const outageOf = (minutes: number, connectMinutes = 10) =>
    new Outage({ reconnect: { minutes }, transport: { connectMinutes } }, clock, () => now);
  const trouble = async (outage: Outage, what: Fault) => {
    for (;;) await outage.wait(what, signal);
  };
  beforeEach(() => {
    now = 0;
    slept = [];
  });

  it('waits longer and longer, and no longer than the reconnect time in all', async () => {
    await expect(trouble(outageOf(1), fault)).rejects.toMatchObject({
      code: 'POOL_UNREACHABLE',
      message: 'away; given up after 1 min (reconnect.minutes)',
      details: { pool: 'p' },
    });
    expect(slept.slice(0, 7)).toEqual([500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000]);
    expect(now).toBeGreaterThanOrEqual(60_000);
    expect(now).toBeLessThan(60_000 + 5_000);
  });

  it('begins anew after bytes moved', async () => {
    const outage = outageOf(1);
    await outage.wait(fault, signal);
    now += 59_000;
    outage.over();
    now += 59_000;
    await outage.wait(fault, signal);
    expect(slept).toEqual([500, 500]);
  });

  it('bears with a disk service that was never reached for the connect time, and for the reconnect time after that', async () => {
    await expect(trouble(outageOf(30, 2), unreachable)).rejects.toMatchObject({
      code: 'DISK_SERVICE_UNREACHABLE',
      message: 'refused; given up after 2 min (transport.connectMinutes)',
    });
    expect(now).toBeLessThan(136_000);
    now = 0;
    const reached = outageOf(30, 2);
    reached.reached();
    await expect(trouble(reached, unreachable)).rejects.toMatchObject({
      message: 'refused; given up after 30 min (reconnect.minutes)',
    });
    expect(now).toBeGreaterThanOrEqual(30 * 60_000);
  });
});
