import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { makeDiskImage, sharesOf } from './disk-image.js';

describe('the shares of a disk', () => {
  const stored = { files: 0.3, log: 0.2, pages: 0.2, random: 1 };

  it('bring the whole to the wanted ratio', () => {
    const shares = sharesOf(stored);
    const whole = shares.files * 0.3 + (shares.log + shares.pages) * 0.2 + shares.random;
    expect(whole).toBeCloseTo(1 / 2.5, 10);
    expect(shares.files + shares.log + shares.pages + shares.random).toBeCloseTo(1, 10);
  });

  it('keep some incompressible data beside files that compress badly', () => {
    expect(sharesOf({ ...stored, files: 0.9 }).random).toBe(0.05);
  });
});

describe('a generated disk', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'bench-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  const hashOf = async (path: string): Promise<string> => {
    const hash = createHash('sha256');
    await pipeline(createReadStream(path), hash);
    return hash.digest('hex');
  };

  const make = async (name: string, seed: number) => {
    const files = join(dir, 'files');
    await mkdir(files, { recursive: true, mode: 0o755 });
    await writeFile(join(files, 'a'), 'one file '.repeat(200_000), { mode: 0o644 });
    await writeFile(join(files, 'b'), Buffer.alloc(3_000_000, 'another'), { mode: 0o644 });
    await mkdir(join(dir, name));
    return makeDiskImage({ dir: join(dir, name), sizeBytes: 16 * 2 ** 20, seed, folders: [files] });
  };

  it('is the same for the same seed, full to 82 %', async () => {
    const [first, again, other] = [await make('1', 7), await make('2', 7), await make('3', 8)];
    expect(await hashOf(again.raw)).toBe(await hashOf(first.raw));
    expect(await hashOf(other.raw)).not.toBe(await hashOf(first.raw));
    expect(first.dataBytes / first.sizeBytes).toBeCloseTo(0.82, 3);
    const { files, log, pages, random } = first.content;
    expect(files + log + pages + random).toBe(first.dataBytes);
  });
});
