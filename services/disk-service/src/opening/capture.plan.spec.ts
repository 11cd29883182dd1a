import type { CaptureRequest } from '@casvault/contracts';
import type { Domain, DomainDisk, DomainState } from '@casvault/libvirt';
import { bitmapSince, captureMethod, planDisks, refuseEncrypted, type ImageFacts } from './capture.plan.js';

const disk = (more: Partial<DomainDisk> = {}): DomainDisk => ({
  target: 'vda',
  path: '/vms/a',
  format: 'qcow2',
  bus: 'virtio',
  device: 'disk',
  fileType: 'file',
  readOnly: false,
  shareable: false,
  encrypted: false,
  ...more,
});
const domain = (disks: DomainDisk[], state: DomainState = 'running'): Domain => ({
  uuid: '08233862-411c-4f09-974f-9c3cf8e5295c',
  name: 'vm',
  state,
  disks,
});
const request = (disks: CaptureRequest['disks'] = [{ target: 'vda', path: '/vms/a' }]): CaptureRequest => ({
  kind: 'capture',
  vm: { uuid: '08233862-411c-4f09-974f-9c3cf8e5295c', name: 'vm' },
  disks,
  leaseSeconds: 60,
});
const image: ImageFacts = {
  sizeBytes: 1,
  encrypted: false,
  keepsBitmaps: true,
  bitmaps: ['c'],
  backingFile: null,
};
const planned = { target: 'vda', path: '/vms/a', format: 'qcow2', incrementalFrom: 'c' } as const;
const same = (a: string, b: string): boolean => a === b;

describe('how a VM is captured', () => {
  test.each([
    ['running', 'live'],
    ['blocked', 'live'],
    ['shut-off', 'offline'],
    ['crashed', 'offline'],
  ] as const)('%s: %s', (state, method) => {
    expect(captureMethod(domain([], state))).toBe(method);
  });
  test.each(['paused', 'suspended', 'shutting-down', 'no-state'] as const)('%s: refused', (state) => {
    expect(() => captureMethod(domain([], state))).toThrow(/is not captured/);
  });
});

describe('the disks of a capture', () => {
  test('are those of the VM, as libvirt names them', () => {
    const attached = domain([
      disk({ path: '/real/a' }),
      disk({ target: 'vdb', path: '/dev/b', fileType: 'block', format: 'raw' }),
    ]);
    const asked = request([
      { target: 'vdb', path: '/dev/b', incrementalFrom: 'c' },
      { target: 'vda', path: '/link/a' },
    ]);
    const links = (a: string, b: string): boolean => a === b || (a === '/link/a' && b === '/real/a');
    expect(planDisks(asked, attached, links)).toEqual([
      { target: 'vdb', path: '/dev/b', format: 'raw', incrementalFrom: 'c' },
      { target: 'vda', path: '/real/a', format: 'qcow2', incrementalFrom: null },
    ]);
  });

  test.each<[string, DomainDisk[], RegExp]>([
    ['absent', [], /no disk vda/],
    ['empty', [disk({ path: null })], /no medium/],
    ['moved', [disk({ path: '/vms/a.snap' })], /is \/vms\/a\.snap now, not \/vms\/a/],
    ['a CD', [disk({ device: 'cdrom' })], /cdrom/],
    ['on the network', [disk({ fileType: 'network' })], /network/],
    ['encrypted', [disk({ encrypted: true })], /R2/],
    ['of another format', [disk({ format: 'vmdk' })], /vmdk/],
  ])('are refused when one is %s', (_, disks, words) => {
    expect(() => planDisks(request(), domain(disks), same)).toThrow(words);
    expect(() => planDisks(request(), domain(disks), same)).toThrow(
      expect.objectContaining({ code: 'CAPTURE_REFUSED' }) as Error,
    );
  });

  test('are refused when the image itself says that it is encrypted', () => {
    expect(() => {
      refuseEncrypted(domain([disk()]), planned, { ...image, encrypted: true });
    }).toThrow(/R2/);
  });
});

describe('the bitmap of an export', () => {
  const live = new Map([['c', ['vda']]]);
  test.each<
    [string, 'live' | 'offline', Partial<ImageFacts>, ReadonlyMap<string, readonly string[]>, string | null]
  >([
    ['live, libvirt has the checkpoint', 'live', {}, live, 'c'],
    ['live, of another disk', 'live', {}, new Map([['c', ['vdb']]]), null],
    ['live, unknown', 'live', {}, new Map(), null],
    ['live, raw or qcow2 of version 2', 'live', { keepsBitmaps: false }, live, null],
    ['offline, kept whole in the file', 'offline', {}, new Map(), 'c'],
    ['offline, not kept', 'offline', { bitmaps: [] }, live, null],
    ['offline, changes lie in several layers', 'offline', { backingFile: '/base' }, new Map(), null],
  ])('%s', (_, method, facts, checkpoints, expected) => {
    expect(bitmapSince(planned, { ...image, ...facts }, method, checkpoints)).toBe(expected);
  });
  test('is not shown unasked', () => {
    expect(bitmapSince({ ...planned, incrementalFrom: null }, image, 'live', live)).toBeNull();
  });
});
