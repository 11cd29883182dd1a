import { Governor, type Speed } from './governor.js';
import { SharedCredit } from './shared-credit.js';

const mib = 1_048_576;
const settled = async (): Promise<void> => {
  for (let i = 0; i < 5; i += 1) await new Promise((resolve) => setImmediate(resolve));
};

/** A governor under a clock of our own: each tick takes as long as the test says. */
class Stepped {
  speed: Speed = { transfer: null, disk: null };
  readonly governor: Governor;
  readonly #end = new AbortController();
  readonly #running: Promise<void>;
  #now = 0;
  #wake: () => void = () => undefined;

  constructor(speed: Speed) {
    this.speed = speed;
    this.governor = new Governor(() => this.speed, {
      monotonic: () => this.#now,
      sleep: () =>
        new Promise((resolve) => {
          this.#wake = resolve;
        }),
    });
    this.#running = this.governor.run(this.#end.signal);
  }

  async pass(ms: number, ticks = Math.ceil(ms / 20)): Promise<void> {
    for (let i = 0; i < ticks; i += 1) {
      this.#now += ms / ticks;
      this.#wake();
      await settled();
    }
  }

  async stop(): Promise<void> {
    this.#end.abort();
    this.#wake();
    await this.#running;
  }
}

/** Takers of pieces of one size, as many as streams there are; they never rest. */
const greedy = (credit: SharedCredit, bytes: number, signal: AbortSignal, streams = 3) => {
  const count = { bytes: 0 };
  const run = async (): Promise<void> => {
    for (;;) {
      try {
        await credit.takeAhead(bytes, signal);
      } catch {
        return;
      }
      count.bytes += bytes;
    }
  };
  for (let i = 0; i < streams; i += 1) void run();
  return count;
};

describe('Governor', () => {
  const end = new AbortController();
  afterAll(() => end.abort());

  it.each([
    [64 * 1_024, 64 * 1_024],
    [8 * mib, mib],
    [300 * mib, mib],
    [1_024 * 1_024 * mib, 8 * mib],
  ])('lets %d bytes a second pass within 5 %% over ten seconds, in requests of %d', async (rate, request) => {
    const stepped = new Stepped({ transfer: rate, disk: null });
    const took = greedy(new SharedCredit(stepped.governor.cells.transfer), request, end.signal);
    await stepped.pass(10_000);
    await stepped.stop();
    if (rate < 1_024 * mib) expect(Math.abs(took.bytes / (10 * rate) - 1)).toBeLessThan(0.05);
    expect(took.bytes).toBeLessThanOrEqual(10 * rate * 1.02 + request);
  });

  it('lets no more than a quarter of a second and one request pass at once, after a rest or a late tick', async () => {
    const stepped = new Stepped({ transfer: 8 * mib, disk: null });
    await stepped.pass(5_000);
    await stepped.pass(3_000, 1);
    const took = greedy(new SharedCredit(stepped.governor.cells.transfer), 65_536, end.signal);
    await settled();
    await stepped.stop();
    expect(took.bytes).toBeLessThanOrEqual(8 * mib * 0.25 + 65_536);
    expect(took.bytes).toBeGreaterThan(mib);
  });

  it('follows a change of the speed, and keeps the kinds apart', async () => {
    const stepped = new Stepped({ transfer: mib, disk: 0.5 * mib });
    const credit = new SharedCredit(stepped.governor.cells.transfer);
    const took = greedy(credit, 65_536, end.signal);
    const disk = greedy(new SharedCredit(stepped.governor.cells.disk), 65_536, end.signal);
    await stepped.pass(2_000);
    const slow = took.bytes;
    expect(slow / mib).toBeCloseTo(2, 0);
    stepped.speed = { transfer: 4 * mib, disk: 0.5 * mib };
    await stepped.pass(2_000);
    expect((took.bytes - slow) / mib).toBeGreaterThan(7);
    expect((took.bytes - slow) / mib).toBeLessThan(9);
    expect(disk.bytes / mib).toBeCloseTo(2, 0);
    await stepped.stop();
  });
});
