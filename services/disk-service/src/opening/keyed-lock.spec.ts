import { KeyedLock } from './keyed-lock.js';

test('one at a time per key, in order, whatever becomes of the one before', async () => {
  const lock = new KeyedLock();
  const seen: string[] = [];
  let running = 0;
  const work = (name: string, fails: boolean) => async () => {
    expect(++running).toBe(1);
    await new Promise((resolve) => setImmediate(resolve));
    seen.push(name);
    running--;
    if (fails) throw new RangeError(name);
    return name;
  };
  const all = [
    lock.run('k', work('a', false)),
    lock.run('k', work('b', true)),
    lock.run('k', work('c', false)),
  ];
  expect(await Promise.allSettled(all)).toMatchObject([
    { value: 'a' },
    { reason: { message: 'b' } },
    { value: 'c' },
  ]);
  expect(seen).toEqual(['a', 'b', 'c']);
});

test('keys do not wait for each other', async () => {
  const lock = new KeyedLock();
  let release = (): void => undefined;
  const held = lock.run('a', () => new Promise<void>((resolve) => (release = resolve)));
  expect(await lock.run('b', async () => 'done')).toBe('done');
  release();
  await held;
});
