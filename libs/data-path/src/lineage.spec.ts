import { type PointDisk } from '@casvault/repository';
import { provenBitmap, type FoundBitmap } from './lineage.js';

const opening = '0192f0c0-0000-7000-8000-00000000abcd';
const parent: PointDisk = {
  target: 'vda',
  diskId: '0192f0c0-0000-7000-8000-00000000dddd',
  role: 'system',
  bus: 'virtio',
  format: 'qcow2',
  sizeBytes: 1_000,
  root: '',
  usedBlocks: 0,
  segments: [],
  stats: { dataBytes: 0, readBytes: 0, resumedBytes: 0, sameBytes: 0, newBytes: 0, storedBytes: 0 },
  lineage: {
    diskId: '0192f0c0-0000-7000-8000-00000000dddd',
    checkpointName: 'casvault-1',
    parentPointId: null,
    parentManifestHash: null,
    openingId: opening,
    generation: 'image 1, run 1',
  },
  reasons: [],
  tracked: false,
};
const found: FoundBitmap = {
  checkpointName: 'casvault-1',
  bitmapContext: 'qemu:dirty-bitmap:backup-vda',
  bitmapReason: null,
  bitmapMadeBy: opening.toUpperCase(),
  generation: 'image 1, run 1',
  sizeBytes: 1_000,
};

it('D2: a bitmap whose beginning the manifest records is proven', () => {
  expect(provenBitmap(parent, found)).toBeNull();
});

it.each<[string, PointDisk | null, Partial<FoundBitmap>, string]>([
  ['a disk that the parent has not', null, {}, 'DISK_ADDED'],
  ['another size', parent, { sizeBytes: 2_000 }, 'DISK_RESIZED'],
  ['no bitmap', parent, { bitmapContext: null }, 'BITMAP_MISSING'],
  [
    'no bitmap, for a reason',
    parent,
    { bitmapContext: null, bitmapReason: 'BITMAP_INCONSISTENT' },
    'BITMAP_INCONSISTENT',
  ],
  ['a parent without lineage', { ...parent, lineage: null }, {}, 'BITMAP_LINEAGE_UNPROVEN'],
  ['another checkpoint', parent, { checkpointName: 'casvault-2' }, 'BITMAP_LINEAGE_UNPROVEN'],
  ['a checkpoint of another opening', parent, { bitmapMadeBy: parent.diskId }, 'BITMAP_LINEAGE_UNPROVEN'],
  ['a checkpoint of nobody', parent, { bitmapMadeBy: null }, 'BITMAP_LINEAGE_UNPROVEN'],
  [
    'a record without opening',
    { ...parent, lineage: { ...parent.lineage!, openingId: null } },
    { bitmapMadeBy: null },
    'BITMAP_LINEAGE_UNPROVEN',
  ],
  ['R7: another run of QEMU', parent, { generation: 'image 1, run 2' }, 'BITMAP_LINEAGE_UNPROVEN'],
  [
    'a run that nobody can tell',
    { ...parent, lineage: { ...parent.lineage!, generation: '' } },
    { generation: '' },
    'BITMAP_LINEAGE_UNPROVEN',
  ],
])('D2: %s proves nothing', (_, disk, change, reason) => {
  expect(provenBitmap(disk, { ...found, ...change })).toBe(reason);
});
