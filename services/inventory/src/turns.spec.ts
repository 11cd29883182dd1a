import { Turns } from './turns.js';

const nextTick = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('turns', () => {
  it('work of one key follows one another, also after a failure; other keys do not wait', async () => {
    const turns = new Turns();
    const seen: string[] = [];
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    const first = turns.take('a', async () => {
      await gate;
      seen.push('first');
      throw new Error('failed');
    });
    const second = turns.take('a', async () => Promise.resolve(seen.push('second')));
    await turns.take('b', async () => Promise.resolve(seen.push('other')));
    await nextTick();
    expect(seen).toEqual(['other']);
    open();
    await expect(first).rejects.toThrow('failed');
    await second;
    expect(seen).toEqual(['other', 'first', 'second']);
  });
});
