import { unusableBitmaps } from './live-capture.js';

const disk = (target: string, bitmapSince: string | null) => ({
  target,
  sizeBytes: 1,
  bitmapSince,
  isTracked: true,
});
const disks = [disk('vda', 'c'), disk('vdb', 'c'), disk('vdc', null)];

test.each([
  ["checkpoint inconsistent: missing or broken bitmap 'c' for disk 'vdb'", ['vdb']],
  ['Bitmap c is inconsistent and cannot be used', ['vda', 'vdb']],
  ["no bitmap for disk 'vdc'", ['vda', 'vdb']],
])('"%s" means %j', (said, expected) => {
  expect(unusableBitmaps(said, disks)).toEqual(expected);
});
