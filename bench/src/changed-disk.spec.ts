import { dirtyBytesOf, writesOf } from './changed-disk.js';

const mib = 1_048_576;

describe('the writes between two points', () => {
  const writes = writesOf(1024 * mib, 30 * mib, 5);

  it('are the same for the same seed, and as many bytes as asked for', () => {
    expect(writesOf(1024 * mib, 30 * mib, 5)).toEqual(writes);
    expect(writesOf(1024 * mib, 30 * mib, 6)).not.toEqual(writes);
    expect(writes.reduce((sum, { length }) => sum + length, 0)).toBe(30 * mib);
  });

  it('lie on the disk, at pages, long and short', () => {
    for (const { offset, length } of writes) {
      expect([offset % 4096, length % 4096, offset + length <= 1024 * mib]).toEqual([0, 0, true]);
    }
    expect(writes.some(({ length }) => length >= mib)).toBe(true);
    expect(writes.filter(({ length }) => length <= 16_384).length).toBeGreaterThan(writes.length / 2);
  });

  it('make whole blocks of 64 KiB dirty, each once', () => {
    expect(
      dirtyBytesOf([
        { offset: 0, length: 4096 },
        { offset: 61_440, length: 8192 },
        { offset: 131_072, length: 65_536 },
      ]),
    ).toBe(3 * 65_536);
  });
});
