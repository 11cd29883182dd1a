import { setTimeout as sleep } from 'node:timers/promises';
import { eachBounded } from './bounded.js';

describe('eachBounded', () => {
  it('does everything, never more than asked at a time', async () => {
    let running = 0;
    let most = 0;
    const done: number[] = [];
    await eachBounded([1, 2, 3, 4, 5, 6, 7], 3, async (item) => {
      most = Math.max(most, (running += 1));
      await sleep(2);
      running -= 1;
      done.push(item);
    });
    expect(done.sort()).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(most).toBe(3);
  });
  it('begins nothing after a failure, and throws it', async () => {
    const begun: number[] = [];
    const work = async (item: number): Promise<void> => {
      begun.push(item);
      await sleep(1);
      if (item === 2) throw new TypeError('two');
    };
    await expect(eachBounded([1, 2, 3, 4, 5, 6], 2, work)).rejects.toThrow('two');
    expect(begun.length).toBeLessThan(5);
  });
});
