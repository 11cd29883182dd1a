import { Limiter } from './limiter.js';

const gate = () => {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { open, opened };
};
const tick = () => new Promise((resolve) => setImmediate(resolve));

describe('a limiter', () => {
  it('runs no more than its limit at once, and the others in their order', async () => {
    const limiter = new Limiter(2);
    const gates = [gate(), gate(), gate(), gate()];
    const began: number[] = [];
    const runs = gates.map(({ opened }, n) =>
      limiter.run(async () => {
        began.push(n);
        await opened;
      }),
    );
    await tick();
    expect([began, limiter.free, limiter.waiting]).toEqual([[0, 1], 0, 2]);
    gates[1]?.open();
    await tick();
    expect(began).toEqual([0, 1, 2]);
    for (const { open } of gates) open();
    for (const run of runs) await run;
    expect([began, limiter.free]).toEqual([[0, 1, 2, 3], 2]);
  });

  it('gives the place back when the work fails', async () => {
    const limiter = new Limiter(1);
    await expect(limiter.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await limiter.run(() => Promise.resolve('next'))).toBe('next');
  });

  it('tells when a place is free and when nothing runs', async () => {
    const limiter = new Limiter(1);
    await limiter.whenIdle();
    await limiter.whenFree();
    const { open, opened } = gate();
    const run = limiter.run(() => opened);
    const told: string[] = [];
    const free = limiter.whenFree().then(() => told.push('free'));
    const idle = limiter.whenIdle().then(() => told.push('idle'));
    await tick();
    expect(told).toEqual([]);
    open();
    await run;
    await free;
    await idle;
    expect(told.sort()).toEqual(['free', 'idle']);
    expect(limiter.free).toBe(1);
  });
});
