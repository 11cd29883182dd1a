import {
  checkpointName,
  newId,
  type ChainId,
  type DiskExport,
  type OpeningId,
  type PointId,
} from '@casvault/contracts';
import { judgeSince, type SinceDisk } from './rollback.rules.js';

const pointId = newId<PointId>();
const openingId = newId<OpeningId>();
const since = { pointId, chainId: newId<ChainId>(), checkpoint: checkpointName(pointId) };
const disk = {
  sizeBytes: 4096,
  lineage: { checkpointName: since.checkpoint, generation: 'image-1/run-7', openingId },
} as unknown as SinceDisk;
const volume: DiskExport = {
  target: 'volume',
  host: '127.0.0.1',
  port: 1,
  exportName: 'x',
  tls: false,
  sizeBytes: 4096,
  format: 'qcow2',
  writable: true,
  bitmapContext: 'qemu:dirty-bitmap:x',
  bitmapReason: null,
  bitmapMadeBy: openingId,
  checkpointed: false,
  generation: 'image-1/off',
};

describe('R7: the bitmap that a roll-back goes by', () => {
  it('is one that began at the point, in this image, and was saved when its machine went off', () => {
    const { chainId } = since;
    const expected = { chainId, pointId, dirtyBitmapContext: 'qemu:dirty-bitmap:x' };
    expect(judgeSince(since, volume, disk)).toEqual({ since: expected, reasons: [] });
  });

  it.each([
    ['of another image', { generation: 'image-2/off' }, 'BITMAP_LINEAGE_UNPROVEN'],
    ['begun by another opening', { bitmapMadeBy: newId<OpeningId>() }, 'BITMAP_LINEAGE_UNPROVEN'],
    [
      'that was not saved cleanly',
      { bitmapContext: null, bitmapReason: 'BITMAP_INCONSISTENT' },
      'BITMAP_INCONSISTENT',
    ],
    ['of another size', { sizeBytes: 8192 }, 'DISK_RESIZED'],
  ] as const)('is none %s', (_, change, reason) => {
    expect(judgeSince(since, { ...volume, ...change }, disk)).toEqual({ since: null, reasons: [reason] });
  });

  it('is none of a disk that the point did not hold, nor without a point', () => {
    expect(judgeSince(since, volume, null)).toEqual({ since: null, reasons: ['DISK_ADDED'] });
    expect(judgeSince(null, volume, disk)).toEqual({ since: null, reasons: [] });
  });
});
