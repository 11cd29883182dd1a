import { open, rename, stat } from 'node:fs/promises';
import {
  newId,
  type BackupSpec,
  type ChainId,
  type PointId,
  type Verified,
  type VerifySpec,
} from '@casvault/contracts';
import { mib, WorkerWorld } from './worker-world.js';

describe('verifying and copying a point', () => {
  const sizeBytes = 24 * mib;
  let world: WorkerWorld;
  let spec: BackupSpec;
  let packs: string[];
  let image: string;
  beforeAll(async () => {
    world = await WorkerWorld.start();
    await world.worker('mover-1');
    image = await world.image(sizeBytes, 12 * mib);
    spec = world.backupSpec([image]);
    await world.controller.reaches(world.controller.begin(spec), 'succeeded');
    packs = await world.objects(`packs/${spec.chainId}`);
  });
  afterAll(() => world.stop());

  const verified = async (depth: VerifySpec['depth']): Promise<Verified> => {
    const transferId = world.controller.begin(world.verifySpec(spec, depth));
    const { result } = await world.controller.reaches(transferId, 'succeeded');
    return result!.verified!;
  };
  const flip = async (path: string): Promise<void> => {
    const file = await open(path, 'r+');
    try {
      const position = Math.floor((await stat(path)).size / 2);
      const byte = Buffer.alloc(1);
      await file.read(byte, 0, 1, position);
      byte[0]! ^= 0xff;
      await file.write(byte, 0, 1, position);
    } finally {
      await file.close();
    }
  };
  const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

  it('E7: copies it to another pool, from which it is restored byte by byte; a later mover adopts what is there', async () => {
    const pool = await world.otherPool();
    const copy = { ...spec, pointId: newId<PointId>(), chainId: newId<ChainId>() };
    const { controller } = world;
    const { result } = await controller.reaches(
      controller.begin(world.copySpec(spec, copy, pool)),
      'succeeded',
    );
    expect(result).toMatchObject({ method: 'offline', disks: [{ target: 'vda', sizeBytes }] });
    expect(result!.poolBytes).toBeGreaterThan(0);
    expect(await world.restored(copy, image, sizeBytes, pool)).toBe('');
    const again = await controller.reaches(controller.begin(world.copySpec(spec, copy, pool)), 'succeeded');
    expect(again.result?.disks[0]?.mapRoot).toBe(result?.disks[0]?.mapRoot);
  });

  it('E8: finds a whole point sound, in either depth', async () => {
    const stored = await verified('stored');
    expect(stored).toMatchObject({ disks: [], objects: [] });
    expect(stored.checkedBytes).toBeGreaterThan(12 * mib);
    const content = await verified('content');
    expect(content.objects).toEqual([]);
    expect(content.disks).toEqual([
      { target: 'vda', sizeBytes, checkedBytes: content.checkedBytes, damagedBytes: 0, damaged: [] },
    ]);
    expect(content.checkedBytes).toBeGreaterThanOrEqual(12 * mib);
  });

  it('E8: names the pack with a flipped byte, and the bytes of the disk that it costs', async () => {
    const [pack] = packs;
    await flip(pack!);
    try {
      for (const depth of ['stored', 'content'] as const) {
        const { objects, disks } = await verified(depth);
        expect(objects.map(({ key }) => nameOf(key))).toEqual([nameOf(pack!)]);
        expect(objects[0]?.fault.code).toBe('POOL_OBJECT_DAMAGED');
        if (depth === 'stored') continue;
        const [disk] = disks;
        const lengths = disk!.damaged.map(({ length }) => length);
        expect(disk!.damagedBytes).toBeGreaterThan(0);
        expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(disk!.damagedBytes);
        expect(disk!.damagedBytes).toBeLessThan(12 * mib);
      }
    } finally {
      await flip(pack!);
    }
  });

  it('E8: names a pack that is gone', async () => {
    const [pack] = packs;
    await rename(pack!, `${pack}.away`);
    try {
      for (const depth of ['stored', 'content'] as const) {
        const { objects } = await verified(depth);
        expect(objects.map(({ key, fault }) => [nameOf(key), fault.code])).toEqual([
          [nameOf(pack!), 'POOL_OBJECT_MISSING'],
        ]);
      }
    } finally {
      await rename(`${pack}.away`, pack!);
    }
  });

  it('E8: calls a point without its manifest damaged', async () => {
    const [manifest] = await world.objects(`points/${spec.chainId}`);
    await rename(manifest!, `${manifest}.away`);
    try {
      const { objects } = await verified('stored');
      expect(objects.map(({ fault }) => fault.code)).toEqual(['POOL_OBJECT_MISSING']);
      expect(objects[0]?.key).toContain(spec.pointId);
    } finally {
      await rename(`${manifest}.away`, manifest!);
    }
    expect((await verified('stored')).objects).toEqual([]);
  });
});
