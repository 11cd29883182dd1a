import { newId, type OpeningId, type ReasonCode } from '@casvault/contracts';
import fc from 'fast-check';
import { judgeBitmap, type BitmapQuestion, type KnownCheckpoint, type LayerBitmap } from './bitmap.plan.js';

const madeBy = newId<OpeningId>();
const checkpoint: KnownCheckpoint = { targets: ['vda'], madeBy, sizes: new Map([['vda', 4096]]) };
const bitmap: LayerBitmap = { name: 'c', layer: 0, isInconsistent: false, isRecording: true };
const good: BitmapQuestion = {
  wanted: 'c',
  target: 'vda',
  keepsBitmaps: true,
  sizeBytes: 4096,
  checkpoint,
  bitmaps: [bitmap, { ...bitmap, name: 'other', isInconsistent: true }],
  isActiveKnown: true,
};
const of = (more: Partial<BitmapQuestion>): BitmapQuestion => ({ ...good, ...more });

describe('D2, D6, R7: a bitmap', () => {
  test.each<[string, BitmapQuestion]>([
    ['recording in the only layer', good],
    ['of a checkpoint that told no sizes', of({ checkpoint: { ...checkpoint, sizes: new Map() } })],
    ['that libvirt must judge, QEMU not being asked', of({ bitmaps: [], isActiveKnown: false })],
  ])('%s is trusted', (_, question) => {
    expect(judgeBitmap(question)).toEqual({ isTrusted: true, madeBy });
  });

  test.each<[string, BitmapQuestion, ReasonCode]>([
    ['on raw or qcow2 of version 2', of({ keepsBitmaps: false }), 'CBT_UNSUPPORTED'],
    ['that libvirt has no record of', of({ checkpoint: null }), 'BITMAP_MISSING'],
    ['of other disks', of({ checkpoint: { ...checkpoint, targets: ['vdb'] } }), 'BITMAP_MISSING'],
    ['of somebody else', of({ checkpoint: { ...checkpoint, madeBy: null } }), 'BITMAP_LINEAGE_UNPROVEN'],
    ['of a disk that had another size', of({ sizeBytes: 8192 }), 'DISK_RESIZED'],
    ['that is gone', of({ bitmaps: [] }), 'BITMAP_MISSING'],
    [
      'left open by a QEMU that died',
      of({ bitmaps: [{ ...bitmap, isInconsistent: true }] }),
      'BITMAP_INCONSISTENT',
    ],
    ['that is disabled', of({ bitmaps: [{ ...bitmap, isRecording: false }] }), 'BITMAP_INCONSISTENT'],
    ['below an overlay', of({ bitmaps: [{ ...bitmap, layer: 1 }] }), 'BITMAP_FOREIGN_LAYER'],
    ['in two layers', of({ bitmaps: [bitmap, { ...bitmap, layer: 2 }] }), 'BITMAP_FOREIGN_LAYER'],
    [
      'below an overlay that QEMU was not asked about',
      of({ bitmaps: [{ ...bitmap, layer: 1 }], isActiveKnown: false }),
      'BITMAP_FOREIGN_LAYER',
    ],
  ])('%s is not trusted', (_, question, reason) => {
    expect(judgeBitmap(question)).toEqual({ isTrusted: false, reason });
  });

  test('is trusted only when it is whole, recording, ours, and alone in the active layer', () => {
    const bitmaps = fc.array(
      fc.record({
        name: fc.constantFrom('c', 'd'),
        layer: fc.nat(2),
        isInconsistent: fc.boolean(),
        isRecording: fc.boolean(),
      }),
      { maxLength: 4 },
    );
    fc.assert(
      fc.property(bitmaps, (found) => {
        const verdict = judgeBitmap(of({ bitmaps: found }));
        const ours = found.filter(({ name }) => name === 'c');
        const isSafe =
          ours.length > 0 &&
          ours[0]!.isRecording &&
          !ours[0]!.isInconsistent &&
          ours.every(({ layer }) => layer === 0);
        expect(verdict.isTrusted).toBe(isSafe);
      }),
    );
  });
});
