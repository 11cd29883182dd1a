import { execFile } from 'node:child_process';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { clusterBytes, Qcow2Image, type Extent } from './qcow2-image.js';

const run = promisify(execFile);
const sector = 512;

const each = async function* (extents: readonly Extent[]): AsyncGenerator<Extent> {
  for (const extent of extents) yield await Promise.resolve(extent);
};
/** What the disk holds at a place: never zero. */
const byteAt = (offset: number): number => ((offset / sector) % 250) + 1;

/** Writes the image as a stream would and a raw file beside it. */
const write = async (dir: string, sizeBytes: number, extents: readonly Extent[]): Promise<string[]> => {
  const paths = [join(dir, 'image.qcow2'), join(dir, 'image.raw')];
  const disk = (offset: number, length: number): Buffer => {
    const bytes = Buffer.alloc(length);
    for (let at = 0; at < length; at += sector)
      if (
        extents.some((one) => !one.zero && one.offset <= offset + at && offset + at < one.offset + one.length)
      )
        bytes.fill(byteAt(offset + at), at, at + sector);
    return bytes;
  };
  const image = await Qcow2Image.of(sizeBytes, each(extents));
  const [qcow2, raw] = [await open(paths[0]!, 'w'), await open(paths[1]!, 'w')];
  let at = 0;
  for (const bytes of image.metadata()) at += (await qcow2.write(bytes)).bytesWritten;
  await raw.truncate(sizeBytes);
  for (const { offset, length } of image.data()) {
    const bytes = disk(offset, length);
    await raw.write(bytes, 0, length, offset);
    at += (await qcow2.write(bytes)).bytesWritten;
  }
  const padding = Math.ceil(at / clusterBytes) * clusterBytes - at;
  at += (await qcow2.write(Buffer.alloc(padding))).bytesWritten;
  await qcow2.close();
  await raw.close();
  expect(at).toBe(image.fileBytes);
  return paths;
};

describe('F9: a streamed qcow2', () => {
  let dir: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'casvault-qcow2-'));
  });
  afterAll(() => rm(dir, { recursive: true }));

  const expectRight = async (sizeBytes: number, extents: readonly Extent[]): Promise<void> => {
    const [qcow2, raw] = await write(dir, sizeBytes, extents);
    const check = await run('qemu-img', ['check', '-f', 'qcow2', qcow2!]);
    expect(check.stdout).toContain('No errors were found');
    const { stdout } = await run('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', qcow2!, raw!]);
    expect(stdout).toContain('identical');
  };

  it('is right for disks of any shape', async () => {
    const extent = fc.record({
      at: fc.nat(4_000),
      sectors: fc.integer({ min: 1, max: 600 }),
      zero: fc.boolean(),
    });
    const shape = fc.record({
      sectors: fc.integer({ min: 1, max: 4_000 }),
      extents: fc.array(extent, { maxLength: 5 }),
    });
    await fc.assert(
      fc.asyncProperty(shape, async ({ sectors, extents }) => {
        const inside = extents.map(({ at, sectors: length, zero }) => {
          const offset = Math.min(at, sectors - 1);
          return { offset: offset * sector, length: Math.min(length, sectors - offset) * sector, zero };
        });
        const plain = inside.filter(({ zero }) => !zero);
        await expectRight(sectors * sector, plain);
      }),
      { numRuns: 25 },
    );
  });

  it('has L2 tables only where data are, in a disk of 3 TiB', async () => {
    const TiB = 2 ** 40;
    const extents = [0, 1.5 * TiB, 3 * TiB - clusterBytes].map((offset) => ({
      offset,
      length: clusterBytes,
      zero: false,
    }));
    const image = await Qcow2Image.of(3 * TiB, each(extents));
    expect(image.fileBytes).toBeLessThan(12 * clusterBytes);
    const [qcow2] = await write(dir, 3 * TiB, extents);
    expect((await run('qemu-img', ['check', '-f', 'qcow2', qcow2!])).stdout).toContain(
      'No errors were found',
    );
  });

  it('counts its own tables when data fill more than one block of refcounts', async () => {
    const sizeBytes = 40_000 * clusterBytes;
    const image = await Qcow2Image.of(sizeBytes, each([{ offset: 0, length: sizeBytes, zero: false }]));
    const metadata = [...image.metadata()];
    expect(image.fileBytes).toBe(metadata.length * clusterBytes + sizeBytes);
    // Header, table and two blocks of refcounts, L1, five L2.
    expect(metadata.length).toBe(1 + 1 + 2 + 1 + 5);
  });
});
