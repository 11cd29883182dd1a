import { type Disk, type DiskId, newId } from '@casvault/contracts';
import { capabilitiesOf, type CapabilityFacts } from './capability.rules.js';

const disk = (fields: Partial<Disk> = {}): Disk => ({
  id: newId<DiskId>(),
  target: 'vda',
  path: '/vms/a/vda',
  format: 'qcow2',
  fileType: 'file',
  bus: 'virtio',
  role: 'system',
  mode: 'dependent',
  sizeBytes: 1 << 20,
  storageName: 'a',
  cbtCapable: true,
  encrypted: false,
  ...fields,
});
const independent = disk({ target: 'vdb', mode: 'independent-persistent' });
const raw = disk({ target: 'vdb', format: 'raw' });
const block = disk({ target: 'vdb', format: 'raw', fileType: 'block' });
const encrypted = disk({ target: 'vdb', encrypted: true });
const of = (fields: Partial<CapabilityFacts>) =>
  capabilitiesOf({ release: 'E0780', offersLiveExport: true, disks: [disk()], ...fields });
const all = {
  liveExport: true,
  liveIncremental: true,
  internalSnapshot: true,
  externalSnapshot: true,
  externalIncremental: true,
};

describe('what can be done for a VM', () => {
  it.each<[string, Partial<CapabilityFacts>, Partial<typeof all>]>([
    ['everything on a new release', {}, {}],
    ['R1: a raw disk takes no internal snapshot', { disks: [disk(), raw] }, { internalSnapshot: false }],
    ['R1: no disk, no snapshot', { disks: [] }, { internalSnapshot: false, externalSnapshot: false }],
    [
      'R2: an encrypted disk takes none',
      { disks: [disk(), encrypted] },
      { internalSnapshot: false, externalSnapshot: false },
    ],
    [
      'R3: a block device takes no external one',
      { disks: [disk(), block] },
      { internalSnapshot: false, externalSnapshot: false },
    ],
    ['R4: an independent disk hinders no external one', { disks: [disk(), independent] }, {}],
    [
      'R4: an independent block device neither',
      { disks: [disk(), { ...block, mode: 'independent-persistent' }] },
      { internalSnapshot: false },
    ],
    ['R4: only independent disks: no external one', { disks: [independent] }, { externalSnapshot: false }],
    [
      'R8, R9: E0760 has no incremental of a running VM, nor by external snapshots',
      { release: 'E0760' },
      { liveIncremental: false, externalIncremental: false },
    ],
    ['R9: E0730 is older than E0760', { release: 'E0730' }, { externalIncremental: false }],
    ['R9: UIS E0750 is older than E0760', { release: 'E0750' }, { externalIncremental: false }],
    ['a host without live export', { offersLiveExport: false }, { liveExport: false }],
    ['a host that does not answer is not guessed about', { offersLiveExport: null }, {}],
  ])('%s', (_, facts, different) => {
    expect(of(facts)).toEqual({ ...all, ...different });
  });
});
