import fc from 'fast-check';
import { newCredit, SharedCredit } from './shared-credit.js';

const kib = 1_024;
const { signal } = new AbortController();
const settled = async (): Promise<void> => {
  for (let i = 0; i < 5; i += 1) await new Promise((resolve) => setImmediate(resolve));
};

describe('SharedCredit', () => {
  it('lets through whole what there is room for, and holds what there is not', async () => {
    const credit = new SharedCredit(newCredit(10 * kib));
    await credit.takeWhole(8 * kib, signal);
    let passed = false;
    const waiting = credit.takeWhole(3 * kib, signal).then(() => (passed = true));
    await settled();
    expect(passed).toBe(false);
    credit.give(8 * kib);
    await waiting;
  });

  it('lets what is larger than the most through by itself', async () => {
    const credit = new SharedCredit(newCredit(kib));
    await credit.takeWhole(5 * kib, signal);
    let passed = false;
    const next = credit.takeWhole(1, signal).then(() => (passed = true));
    await settled();
    expect(passed).toBe(false);
    credit.give(5 * kib);
    await next;
  });

  it('rejects a taker whose signal aborts, and takes nothing for it', async () => {
    const credit = new SharedCredit(newCredit(kib));
    await credit.takeWhole(kib, signal);
    const controller = new AbortController();
    const waiting = credit.takeWhole(kib, controller.signal);
    await settled();
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'STOPPED' });
    credit.give(kib);
    await credit.takeWhole(kib, signal);
  });

  it('lets everything through while it is open, also who waits already', async () => {
    const credit = new SharedCredit(newCredit(kib));
    credit.bound(kib);
    const waiting = credit.takeAhead(100 * kib, signal);
    await settled();
    credit.open();
    await waiting;
    await credit.takeAhead(1e9, signal);
    expect(credit.mostBytes).toBe(Infinity);
  });

  it('fills up to the most and no further', async () => {
    const credit = new SharedCredit(newCredit(4 * kib));
    credit.bound(4 * kib);
    credit.fill(100);
    await credit.takeAhead(4 * kib, signal);
    let passed = false;
    const next = credit.takeAhead(kib, signal).then(() => (passed = true));
    await settled();
    expect(passed).toBe(false);
    credit.fill(1);
    await next;
  });

  it('never lets more pass than was filled, one taking aside, however it is taken', async () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(
        sizes,
        fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 12 }),
        async (taken, fills) => {
          const credit = new SharedCredit(newCredit(kib));
          credit.bound(64 * kib);
          const end = new AbortController();
          let passed = 0;
          const takers = taken.map((size) =>
            credit.takeAhead(size * kib, end.signal).then(
              () => (passed += size),
              () => 0,
            ),
          );
          let filled = 0;
          for (const fill of fills) {
            credit.fill(fill);
            filled += fill;
            await settled();
            expect(passed).toBeLessThanOrEqual(filled + Math.max(...taken));
          }
          end.abort();
          await Promise.all(takers);
        },
      ),
      { numRuns: 30 },
    );
  });
});
