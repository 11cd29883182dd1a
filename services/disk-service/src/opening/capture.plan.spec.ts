import type { CaptureRequest } from '@casvault/contracts';
import type { Domain, DomainDisk, DomainState } from '@casvault/libvirt';
import {
  captureMethod,
  frozenLayer,
  internalSnapshot,
  planDisks,
  refuseEncrypted,
  type LayerFacts,
} from './capture.plan.js';

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
const layer = (more: Partial<LayerFacts> = {}): LayerFacts => ({
  path: '/vms/a',
  format: 'qcow2',
  encrypted: false,
  snapshots: [],
  ...more,
});
const planned = {
  target: 'vda',
  path: '/vms/a',
  format: 'qcow2',
  incrementalFrom: 'c',
  isUntracked: false,
} as const;
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
      { target: 'vda', path: '/link/a', untracked: true },
    ]);
    const links = (a: string, b: string): boolean => a === b || (a === '/link/a' && b === '/real/a');
    expect(planDisks(asked, attached, links)).toEqual([
      { target: 'vdb', path: '/dev/b', format: 'raw', incrementalFrom: 'c', isUntracked: false },
      { target: 'vda', path: '/real/a', format: 'qcow2', incrementalFrom: null, isUntracked: true },
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

  test.each([
    ['the image', [layer({ encrypted: true })]],
    ['a layer under it', [layer(), layer({ path: '/vms/base', encrypted: true })]],
  ])('R2: are refused when %s itself says that it is encrypted', (_, chain) => {
    expect(() => {
      refuseEncrypted(domain([disk()]), planned, chain);
    }).toThrow(/R2/);
  });
});

describe('the source of a snapshot capture', () => {
  const vm = domain([disk()]);
  const s1 = { id: '3', name: 's1' };

  test('is the internal snapshot of that name, by its id', () => {
    const image = layer({ snapshots: [{ id: '1', name: 's0' }, s1] });
    expect(internalSnapshot(vm, planned, image, 's1')).toBe('3');
  });
  test.each<[string, LayerFacts | undefined, RegExp]>([
    ['is not there', layer(), /no internal snapshot s1/],
    ['is there twice', layer({ snapshots: [s1, { ...s1, id: '4' }] }), /2 internal snapshots s1/],
    ['is of no image', undefined, /no internal snapshot s1/],
  ])('is refused when the internal snapshot %s', (_, image, words) => {
    expect(() => internalSnapshot(vm, planned, image, 's1')).toThrow(words);
  });

  const chain = [
    layer(),
    layer({ path: '/vms/mid', format: 'raw' }),
    layer({ path: '/vms/base', format: 'vmdk' }),
  ];
  test('is the layer below the active one that the caller names', () => {
    expect(frozenLayer(vm, planned, chain, (path) => path === '/vms/mid')).toBe(1);
  });
  test.each([
    ['/vms/a', /active layer/],
    ['/vms/other', /no such layer/],
    ['/vms/base', /vmdk/],
  ])('is refused when it is %s', (asked, words) => {
    expect(() => frozenLayer(vm, planned, chain, (path) => path === asked)).toThrow(words);
    expect(() => frozenLayer(vm, planned, chain, (path) => path === asked)).toThrow(
      expect.objectContaining({ code: 'CAPTURE_REFUSED' }) as Error,
    );
  });
});
