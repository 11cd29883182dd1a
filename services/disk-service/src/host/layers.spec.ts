import type { BlockNode } from '@casvault/libvirt';
import type { Image, KeptBitmap } from './image.js';
import { keptBitmaps, liveBitmaps } from './layers.js';

const image = (path: string, bitmaps: KeptBitmap[]): Image => ({
  path,
  sizeBytes: 1,
  format: 'qcow2',
  encrypted: false,
  keepsBitmaps: true,
  bitmaps,
  snapshots: [],
  backingFile: null,
  backingFormat: null,
  dataFile: null,
});
const node = (file: string | null, name: string, inconsistent = false): BlockNode => ({
  driver: 'qcow2',
  file,
  bitmaps: [
    { name, recording: !inconsistent, persistent: true, busy: false, inconsistent, granularityBytes: 65_536 },
  ],
});
const kept = { name: 'c', inUse: false, auto: true };
const found = { name: 'c', layer: 0, isInconsistent: false, isRecording: true };

describe('the bitmaps of a disk', () => {
  test('of a stopped VM are those in its files', () => {
    const chain = [image('/a', [{ ...kept, inUse: true }]), image('/b', [{ ...kept, auto: false }])];
    expect(keptBitmaps(chain)).toEqual({
      bitmaps: [
        { ...found, isInconsistent: true },
        { ...found, layer: 1, isRecording: false },
      ],
      isActiveKnown: true,
    });
  });

  test('of a running VM are those of QEMU, whatever its files say', () => {
    const chain = [image('/a', [{ ...kept, inUse: true }]), image('/b', [])];
    const nodes = [node('/a', 'c'), node('/b', 'd', true), { driver: 'file', file: '/a', bitmaps: [] }];
    expect(liveBitmaps(chain, nodes)).toEqual({
      bitmaps: [found, { name: 'd', layer: 1, isInconsistent: true, isRecording: false }],
      isActiveKnown: true,
    });
  });

  test.each([[null], [[]], [[node(null, 'c')]]])(
    'of a QEMU that tells %j are those below the active layer',
    (nodes) => {
      const chain = [image('/a', [kept]), image('/b', [kept])];
      expect(liveBitmaps(chain, nodes)).toEqual({ bitmaps: [{ ...found, layer: 1 }], isActiveKnown: false });
    },
  );
});
