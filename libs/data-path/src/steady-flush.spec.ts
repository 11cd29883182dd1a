import { Fault } from '@casvault/contracts';
import { SteadyFlush } from './steady-flush.js';

const mib = 1_048_576;
const piece = new Uint8Array(64 * mib);

/** A disk that notes what it is asked, and flushes when it is told to. */
class NotedDisk {
  readonly asked: string[] = [];
  readonly #flushes: { done: () => void; fail: (fault: Fault) => void }[] = [];

  write(offset: number): Promise<void> {
    this.asked.push(`write ${String(offset / mib)}`);
    return Promise.resolve();
  }

  flush(): Promise<void> {
    this.asked.push('flush');
    return new Promise((done, fail) => this.#flushes.push({ done, fail }));
  }

  async end(fault: Fault | null = null): Promise<void> {
    const flush = this.#flushes.shift();
    if (fault === null) flush?.done();
    else flush?.fail(fault);
    await new Promise(setImmediate);
  }
}

const writeMany = async (to: SteadyFlush, from: number, pieces: number): Promise<void> => {
  for (let i = 0; i < pieces; i += 1) await to.write((from + i) * piece.length, piece);
};

describe('SteadyFlush', () => {
  it('flushes each 256 MiB beside the writes, one at a time', async () => {
    const disk = new NotedDisk();
    const steady = new SteadyFlush(disk);
    await writeMany(steady, 0, 9);
    expect(disk.asked.filter((one) => one === 'flush')).toHaveLength(1);
    expect(disk.asked.indexOf('flush')).toBe(4);
    await disk.end();
    await writeMany(steady, 9, 1);
    expect(disk.asked.at(-1)).toBe('flush');
  });

  it('flushes at the end what the last flush did not cover', async () => {
    const disk = new NotedDisk();
    const steady = new SteadyFlush(disk);
    await writeMany(steady, 0, 5);
    const flushed = steady.flush();
    await disk.end();
    expect(disk.asked.slice(-2)).toEqual(['write 256', 'flush']);
    await disk.end();
    await expect(flushed).resolves.toBeUndefined();
  });

  it('never forgets a flush that failed', async () => {
    const disk = new NotedDisk();
    const steady = new SteadyFlush(disk);
    await writeMany(steady, 0, 4);
    const fault = new Fault('NBD_IO', 'no space');
    await disk.end(fault);
    await expect(steady.write(0, piece)).rejects.toBe(fault);
    await expect(steady.flush()).rejects.toBe(fault);
    expect(disk.asked.filter((one) => one === 'flush')).toHaveLength(1);
  });
});
