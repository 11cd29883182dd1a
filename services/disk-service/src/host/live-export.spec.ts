import { offersLiveExport } from './live-export.js';

test.each([
  ['7.6.0', '6.1.0', true],
  ['9.0.0', '7.2.22', true],
  ['10.0.0', '10.0.0', true],
  ['7.5.9', '7.2.0', false],
  ['6.9.0', '7.2.0', false],
  ['7.6.0', '6.0.1', false],
  ['7.6.0', '2.12.0', false],
  ['unknown', '7.2.0', false],
  ['9.0.0', 'unknown', false],
])('live export with libvirt %s and QEMU %s: %s', (libvirt, qemu, expected) => {
  expect(offersLiveExport(libvirt, qemu)).toBe(expected);
});
