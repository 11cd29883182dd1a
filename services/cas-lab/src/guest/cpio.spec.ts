import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packCpio } from './cpio.js';

describe('an initial RAM disk', () => {
  it('is unpacked by cpio to the same files', () => {
    const dir = mkdtempSync(join(tmpdir(), 'cas-lab-cpio-'));
    try {
      const content = Buffer.from([0, 1, 2, 255, 10]);
      const archive = packCpio([
        { path: 'bin', mode: 0o040755, content: Buffer.alloc(0) },
        { path: 'bin/tool', mode: 0o100755, content },
        { path: 'empty', mode: 0o100600, content: Buffer.alloc(0) },
      ]);
      execFileSync('cpio', ['-i', '--quiet'], { cwd: dir, input: archive });
      expect(readFileSync(join(dir, 'bin/tool')).equals(content)).toBe(true);
      expect(statSync(join(dir, 'bin/tool')).mode & 0o777).toBe(0o755);
      expect(statSync(join(dir, 'empty')).size).toBe(0);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it('is a multiple of four bytes long and ends in the trailer', () => {
    const archive = packCpio([{ path: 'a', mode: 0o100644, content: Buffer.from('xyz') }]);
    expect(archive.length % 4).toBe(0);
    expect(archive.includes('TRAILER!!!')).toBe(true);
    expect(archive.toString('latin1', 0, 6)).toBe('070701');
  });
});
