import { SimulatedControllers } from './testing/simulated-controllers.js';
import { SimulatedMovers, type PlantedFaults } from './testing/simulated-movers.js';
import { Chance, VirtualTime } from './testing/virtual-time.js';

interface Plan {
  readonly seed: number;
  readonly faults?: PlantedFaults;
  readonly isRough?: boolean;
  readonly cooldownSeconds?: number;
  readonly transferMs?: readonly [number, number];
}

const world = ({
  seed,
  faults = {},
  isRough = false,
  cooldownSeconds = 20,
  transferMs = [5_000, 60_000],
}: Plan) => {
  const time = new VirtualTime();
  const chance = new Chance(seed);
  const movers = new SimulatedMovers({ time, chance, faults, slots: 2, transferMs, isRough });
  const group = {
    group: 'default',
    deployment: movers.deployment,
    min: 0,
    max: 20,
    transfers: 2,
    cooldownSeconds,
  };
  const controllers = new SimulatedControllers({ time, chance, movers, group, faults, isRough }, 3);
  /** Until the signal of the run's end: bursts with pauses, some of them long enough to go back to nothing. */
  const arrive = (): void => {
    if (chance.happens(0.5)) movers.queue(Math.ceil(chance.between(0, 30)));
    time.after(chance.between(2_000, 60_000), arrive);
  };
  return { time, movers, controllers, arrive };
};

/** Runs until the number fell so often, a busy pod was given up, or thirty days are over. */
const scaleIns = async (plan: Plan, count: number) => {
  const { time, movers, controllers, arrive } = world(plan);
  const end = time.monotonic() + 30 * 86_400_000;
  arrive();
  await time.run(() => movers.falls >= count || movers.busyRemoved.length > 0 || time.monotonic() > end);
  return { falls: movers.falls, busy: movers.busyRemoved, crashes: controllers.crashes };
};

describe('the scaler of movers in virtual time', () => {
  it('G14: goes from 0 to 20 pods for 500 transfers within a minute, and back to 0', async () => {
    const { time, movers } = world({ seed: 1, transferMs: [30_000, 120_000], cooldownSeconds: 60 });
    await time.run(() => time.monotonic() >= Date.parse('2026-01-01T00:01:00Z'));
    expect(movers.cluster.pods.size).toBe(0);
    const asked = time.monotonic();
    movers.queue(500);
    await time.run(() => movers.ready === 20);
    expect(time.monotonic() - asked).toBeLessThanOrEqual(60_000);
    await time.run(() => movers.work.queued === 0 && movers.work.claims.size === 0);
    const ended = time.monotonic();
    await time.run(() => movers.cluster.pods.size === 0);
    expect(time.monotonic() - ended).toBeLessThan(180_000);
    expect(movers.removed).toBe(20);
    expect(movers.busyRemoved).toEqual([]);
  });

  it('G14: lowers the number 1,000 times under crashes, stalls, late requests and lost pods, and no busy pod goes', async () => {
    const { falls, busy, crashes } = await scaleIns({ seed: 7, isRough: true }, 1_000);
    expect(busy).toEqual([]);
    expect(falls).toBe(1_000);
    expect(crashes).toBeGreaterThan(20);
  });

  it.each([
    ['the handshake', { skipsHandshake: true }],
    ['the refusal of claims', { claimsAnyway: true }],
    ['the deletion cost', { skipsCost: true }],
    ['the version of the number', { ignoresVersion: true }],
  ])('finds a busy pod given up without %s', async (_what, faults) => {
    const { busy } = await scaleIns({ seed: 7, isRough: true, faults }, 1_000);
    expect(busy).not.toEqual([]);
  });
});
