import { packCpio } from './cpio.js';

/** Reads a "newc" archive by the kernel's description of it. */
function unpack(archive: Buffer): { path: string; mode: number; content: Buffer }[] {
  const found = [];
  const aligned = (at: number): number => (at + 3) & ~3;
  for (let at = 0; at < archive.length;) {
    expect(archive.toString('latin1', at, at + 6)).toBe('070701');
    const field = (index: number): number =>
      Number.parseInt(archive.toString('latin1', at + 6 + index * 8, at + 14 + index * 8), 16);
    const [mode, size, nameSize] = [field(1), field(6), field(11)];
    const path = archive.toString('utf8', at + 110, at + 110 + nameSize - 1);
    const from = aligned(at + 110 + nameSize);
    found.push({ path, mode, content: archive.subarray(from, from + size) });
    at = aligned(from + size);
  }
  return found;
}

describe('an initial RAM disk', () => {
  it('holds every entry with its type, permissions and content, and ends in the trailer', () => {
    const entries = [
      { path: 'bin', mode: 0o040755, content: Buffer.alloc(0) },
      { path: 'bin/tool', mode: 0o100755, content: Buffer.from([0, 1, 2, 255, 10]) },
      { path: 'odd name', mode: 0o100600, content: Buffer.from('xyz') },
    ];
    const archive = packCpio(entries);
    expect(archive.length % 4).toBe(0);
    expect(unpack(archive)).toEqual([...entries, { path: 'TRAILER!!!', mode: 0, content: Buffer.alloc(0) }]);
  });

  it('is the same bytes for the same entries', () => {
    const make = (): Buffer => packCpio([{ path: 'a', mode: 0o100644, content: Buffer.from('x') }]);
    expect(make().equals(make())).toBe(true);
  });
});
