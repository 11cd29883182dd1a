import { readFile, rm, writeFile } from 'node:fs/promises';
import { openObjectStore } from '@casvault/object-store';
import { decodePackEnd, openDigest, pointKey, type FrameKind } from '@casvault/repository';
import { verifyPoint } from '../src/index.js';
import { Bench, mib } from './disks.js';
import { backup, chainId, diskOf, faultOf, key, makeRepository, restore, uuid } from './engine.js';

const size = 40 * mib;
let bench: Bench;
const location = () => ({ kind: 'fs', path: bench.path('pool') }) as const;
const pathOf = (objectKey: string) => bench.path(`pool/${objectKey}`);

async function flip(objectKey: string, at: number): Promise<void> {
  const bytes = await readFile(pathOf(objectKey));
  bytes[at < 0 ? bytes.length + at : at]! ^= 4;
  await writeFile(pathOf(objectKey), bytes);
}

/** The first pack that holds a frame of `kind`, and where that begins. */
async function findFrame(kind: FrameKind): Promise<{ pack: string; offset: number }> {
  const store = openObjectStore(location());
  const checksum = openDigest('blake3-256', null);
  for await (const { key: pack } of store.list('packs/')) {
    const bytes = await store.get(pack);
    const frame = decodePackEnd(bytes, bytes.length, checksum, pack).frames.find((one) => one.kind === kind);
    if (frame !== undefined) return { pack, offset: frame.offset };
  }
  throw new Error(`no ${kind} frame`);
}

let targets = 0;
const target = async () => {
  const image = await bench.emptyImage(`target-${(targets += 1)}`, 'raw', size);
  return (await bench.serveWritable(image, 'raw')).endpoint;
};

describe.each([
  ['clear', false],
  ['encrypted', true],
])('a pool, %s,', (_, encrypted) => {
  beforeEach(async () => {
    bench = await Bench.open();
    await makeRepository(location(), { encrypted });
    const raw = await bench.raw('disk.raw', size, { at: 0, length: size, seed: 1 });
    const source = await bench.serveReadOnly(raw, 'raw');
    await backup(location(), [diskOf(0, source.endpoint)], encrypted ? { key } : {});
    await source.process.stop();
  });
  afterEach(() => bench.close());

  const verified = async (kind: 'stored' | 'content') => {
    const depth = kind === 'stored' ? { kind } : { kind, key: encrypted ? key : null, streamsPerDisk: 2 };
    const request = { location: location(), chainId, pointId: uuid('p', 1), depth };
    return verifyPoint(request, { signal: new AbortController().signal });
  };
  const verify = async (kind: 'stored' | 'content') => (await verified(kind)).faults;
  const restoring = async () => faultOf(restore(location(), [await target()], { encrypted }));

  it.each(['data', 'page', 'segment'] as const)(
    'with a flipped bit in a %s frame, names the pack',
    async (kind) => {
      const { pack, offset } = await findFrame(kind);
      await flip(pack, offset + 40);
      const named = { code: 'POOL_OBJECT_DAMAGED', details: { key: pack } };
      expect(await restoring()).toMatchObject(named);
      expect(await verify('stored')).toMatchObject([named]);
      expect(await verify('content')).toMatchObject([named]);
    },
  );

  it('verifying names the blocks that cannot be restored, and no others', async () => {
    expect((await verified('content')).disks).toMatchObject([
      { target: 'vda', sizeBytes: size, damagedBytes: 0, damaged: [] },
    ]);
    const { pack, offset } = await findFrame('data');
    await flip(pack, offset + 40);
    const [disk] = (await verified('content')).disks;
    // One frame is lost: the sixteen blocks of a group.
    expect(disk).toMatchObject({ damagedBytes: mib, damaged: [{ length: mib }] });
    expect(disk!.damaged[0]!.offset % mib).toBe(0);
    expect(disk!.checkedBytes + disk!.damagedBytes).toBe(size);
    expect((await verified('stored')).disks).toEqual([]);
    const { pack: maps, offset: at } = await findFrame('page');
    await flip(maps, at + 40);
    expect((await verified('content')).disks[0]).toMatchObject({
      checkedBytes: 0,
      damaged: [{ offset: 0, length: size }],
    });
  });

  it('with a missing pack, names it', async () => {
    const { pack } = await findFrame('data');
    await rm(pathOf(pack));
    expect(await restoring()).toMatchObject({ code: 'POOL_OBJECT_MISSING', details: { key: pack } });
    expect(await verify('stored')).toMatchObject([{ code: 'POOL_OBJECT_MISSING', details: { key: pack } }]);
    const { faults, disks } = await verified('content');
    expect(faults).toMatchObject([{ code: 'POOL_OBJECT_MISSING' }]);
    expect(disks[0]!.damagedBytes).toBeGreaterThan(mib);
    expect(disks[0]!.damagedBytes + disks[0]!.checkedBytes).toBe(size);
  });

  it('with a flipped bit in a trailer, restores all the same, and a scrub names the pack', async () => {
    const { pack } = await findFrame('data');
    await flip(pack, -100);
    await restore(location(), [await target()], { encrypted });
    expect(await verify('stored')).toMatchObject([{ code: 'POOL_OBJECT_DAMAGED', details: { key: pack } }]);
  });

  it('with a damaged manifest or descriptor, names it', async () => {
    const manifest = pointKey(chainId, uuid('p', 1));
    await flip(manifest, -200);
    expect(await restoring()).toMatchObject({ code: 'POOL_OBJECT_DAMAGED', details: { key: manifest } });
    expect(await faultOf(verify('stored'))).toMatchObject({ details: { key: manifest } });
    await flip('repository.json', 40);
    expect(await restoring()).toMatchObject({
      code: 'POOL_OBJECT_DAMAGED',
      details: { key: 'repository.json' },
    });
  });

  it('opens with its own key alone', async () => {
    const other = { ...key, key: Buffer.alloc(32, 4) };
    const opening = backup(location(), [], { key: encrypted ? other : null, point: 2 });
    if (encrypted) expect((await faultOf(opening)).code).toBe('POOL_KEY_WRONG');
    else expect((await opening).disks).toEqual([]);
  });
});
