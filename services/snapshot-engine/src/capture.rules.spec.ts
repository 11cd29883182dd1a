import { newId, type Disk, type DiskId, type VmFacts } from '@casvault/contracts';
import { planCapture, type CaptureAsk, type CaptureFacts, type CapturePlan } from './capture.rules.js';
import { sampleFacts } from './testing/samples.js';

const TiB = 1024 ** 4;
const [sample] = sampleFacts().vm.disks;
const disk = (target: string, change: Partial<Disk> = {}): Disk => ({
  ...sample!,
  id: newId<DiskId>(),
  target,
  path: `/vms/${target}.qcow2`,
  ...change,
});
const raw = (target: string): Disk => disk(target, { format: 'raw', cbtCapable: false });
const independent = (target: string, change: Partial<Disk> = {}): Disk =>
  disk(target, { mode: 'independent-persistent', ...change });
const vda = disk('vda');

interface Case {
  readonly disks?: readonly Disk[];
  readonly powerState?: VmFacts['vm']['powerState'];
  /** Of the platform; the others are true. */
  readonly can?: Partial<VmFacts['capabilities']>;
  readonly restartNeeded?: readonly string[];
  readonly ask?: Partial<CaptureAsk>;
}

const plan = ({ disks = [vda], powerState = 'running', can = {}, restartNeeded = [], ask = {} }: Case) => {
  const { vm, capabilities } = sampleFacts({ disks: [...disks], powerState });
  const facts: CaptureFacts = {
    vm,
    capabilities: { ...capabilities, ...can },
    restartNeeded: [...restartNeeded],
  };
  return planCapture(facts, { cbt: { enable: true, fallback: 'full' }, powerOff: false, ...ask }, null);
};
/** As short as a table wants it. */
const told = (made: CapturePlan): object =>
  made.outcome === 'capture'
    ? {
        method: made.method,
        disks: made.disks.map(({ target }) => target).join(' '),
        without: made.excludedDisks.map(({ target, reason }) => `${target} ${reason}`).join(' '),
        reasons: made.reasons.join(' '),
      }
    : { outcome: made.outcome, fault: made.fault.code, reasons: made.reasons.join(' ') };

const noLive = { liveExport: false };
const noSnapshots = { ...noLive, internalSnapshot: false, externalSnapshot: false };
const refused = (reasons: string, fault = 'CAPTURE_REFUSED') => ({ outcome: 'refused', fault, reasons });
const captured = (method: string, disks: string, reasons: string, without = '') => ({
  method,
  disks,
  without,
  reasons,
});

const table: readonly (readonly [name: string, given: Case, then: object])[] = [
  ['D4: a running VM is exported live', {}, captured('live', 'vda', 'CAPTURE_LIVE')],
  [
    'D4: a stopped VM is read as it is',
    { powerState: 'stopped' },
    captured('offline', 'vda', 'CAPTURE_OFFLINE'),
  ],
  [
    'D4: what nobody knows the state of is not backed up',
    { powerState: 'unknown' },
    refused('VM_STATE_UNKNOWN', 'VM_STATE_REFUSED'),
  ],
  [
    'R1: a running VM that nothing can snapshot is shut down when the job allows it',
    { can: noSnapshots, ask: { powerOff: true } },
    captured('power-off', 'vda', 'CAPTURE_POWERED_OFF'),
  ],
  ['R1: and refused when not', { can: noSnapshots }, refused('POWER_OFF_NEEDED')],
  [
    'R1: stopped, it is backed up offline',
    { can: noSnapshots, powerState: 'stopped' },
    captured('offline', 'vda', 'CAPTURE_OFFLINE'),
  ],
  [
    'R2: an encrypted disk refuses the VM',
    { disks: [vda, disk('vdb', { encrypted: true })] },
    refused('DISK_ENCRYPTED'),
  ],
  [
    'R2: also when stopped, and when the disk is not chosen',
    {
      disks: [vda, disk('vdb', { encrypted: true })],
      powerState: 'stopped',
      ask: { diskIds: [vda.id] },
    },
    refused('DISK_ENCRYPTED'),
  ],
  [
    'R3: a block device takes no part in snapshots',
    { disks: [disk('vda', { fileType: 'block', path: '/dev/vg/lv' })], can: noLive },
    refused('POWER_OFF_NEEDED'),
  ],
  [
    'R3: it is exported live where that is offered',
    { disks: [disk('vda', { format: 'raw', fileType: 'block', path: '/dev/vg/lv' })] },
    captured('live', 'vda', 'CAPTURE_LIVE'),
  ],
  [
    'R4: an independent disk is left out of an external snapshot, and named',
    { disks: [vda, independent('vdb')], can: { ...noLive, internalSnapshot: false } },
    captured('external-snapshot', 'vda', 'CAPTURE_EXTERNAL_SNAPSHOT DISK_LEFT_OUT', 'vdb DISK_LEFT_OUT'),
  ],
  [
    'R4: it takes part by an internal snapshot',
    { disks: [vda, independent('vdb')], can: noLive },
    captured('internal-snapshot', 'vda vdb', 'CAPTURE_INTERNAL_SNAPSHOT'),
  ],
  [
    'R4: offline and live, too',
    { disks: [vda, independent('vdb')] },
    captured('live', 'vda vdb', 'CAPTURE_LIVE'),
  ],
  [
    'R4: nothing but independent disks are no external snapshot',
    { disks: [independent('vda')], can: { ...noLive, internalSnapshot: false } },
    refused('POWER_OFF_NEEDED'),
  ],
  [
    'R6: a raw disk of a running VM is exported live, in full',
    { disks: [vda, raw('vdb')] },
    captured('live', 'vda vdb', 'CAPTURE_LIVE'),
  ],
  [
    'R6: without the live export the VM is shut down when the job allows it',
    { disks: [vda, raw('vdb')], can: noLive, ask: { powerOff: true } },
    captured('power-off', 'vda vdb', 'CAPTURE_POWERED_OFF'),
  ],
  ['R6: and refused when not', { disks: [vda, raw('vdb')], can: noLive }, refused('POWER_OFF_NEEDED')],
  [
    'R6: an RBD disk is nothing that a host can open',
    { disks: [disk('vda', { format: 'raw', path: 'rbd/pool/image' })] },
    refused('DISK_UNSUPPORTED'),
  ],
  [
    'R6: the raw disk is not asked about when another is chosen (D1)',
    { disks: [vda, raw('vdb')], can: noLive, ask: { diskIds: [vda.id] } },
    captured('external-snapshot', 'vda', 'CAPTURE_EXTERNAL_SNAPSHOT', 'vdb DISK_NOT_CHOSEN'),
  ],
  [
    'R9: an external snapshot that holds all disks comes before an internal one',
    { can: noLive },
    captured('external-snapshot', 'vda', 'CAPTURE_EXTERNAL_SNAPSHOT'),
  ],
  [
    'R9: an internal snapshot over 2 TiB is avoided even if a disk is left out',
    { disks: [disk('vda', { sizeBytes: 2 * TiB + 1 }), independent('vdb')], can: noLive },
    captured('external-snapshot', 'vda', 'CAPTURE_EXTERNAL_SNAPSHOT DISK_LEFT_OUT', 'vdb DISK_LEFT_OUT'),
  ],
  [
    'R9: 2 TiB are not over 2 TiB',
    { disks: [disk('vda', { sizeBytes: 2 * TiB }), independent('vdb')], can: noLive },
    captured('internal-snapshot', 'vda vdb', 'CAPTURE_INTERNAL_SNAPSHOT'),
  ],
  [
    'R9: it is taken when there is nothing else',
    { disks: [disk('vda', { sizeBytes: 3 * TiB })], can: { ...noLive, externalSnapshot: false } },
    captured('internal-snapshot', 'vda', 'CAPTURE_INTERNAL_SNAPSHOT'),
  ],
  [
    'R10: a disk that waits for a restart refuses the running VM',
    { disks: [vda, disk('hdb', { bus: 'ide' })], restartNeeded: ['hdb'] },
    refused('RESTART_NEEDED'),
  ],
  [
    'R10: not when the disk is not chosen',
    { disks: [vda, disk('hdb', { bus: 'ide' })], restartNeeded: ['hdb'], ask: { diskIds: [vda.id] } },
    captured('live', 'vda', 'CAPTURE_LIVE', 'hdb DISK_NOT_CHOSEN'),
  ],
  ['R11: a paused VM is refused', { powerState: 'paused' }, refused('VM_PAUSED', 'VM_STATE_REFUSED')],
  ['R11: a migrating VM is refused', { powerState: 'migrating' }, refused('VM_MIGRATING', 'PLATFORM_BUSY')],
  ['a VM without a disk is refused', { disks: [] }, refused('')],
  [
    'a VM with more than 64 disks is refused',
    { disks: Array.from({ length: 65 }, (_, i) => disk(`vd${i}`)) },
    refused(''),
  ],
  [
    'a format that nobody reads is refused',
    { disks: [disk('vda', { format: 'unknown' })] },
    refused('DISK_UNSUPPORTED'),
  ],
  ['a device name that is none is refused', { disks: [disk('../etc')] }, refused('DISK_UNSUPPORTED')],
  [
    'D1: a chosen disk that is gone is not passed over',
    { ask: { diskIds: [vda.id, newId<DiskId>()] } },
    refused(''),
  ],
];

describe('capture rules', () => {
  it.each(table)('%s', (_name, given, then) => {
    expect(told(plan(given))).toEqual(then);
  });

  it('names the disk and the rule that it breaks', () => {
    const made = plan({ disks: [vda, disk('vdb', { path: 'rbd/pool/image' })] });
    expect(made.outcome === 'capture' ? '' : made.fault.message).toBe(
      "VM 'db': disk vdb is not a file or block device of the host (rbd/pool/image)",
    );
  });

  it('hands the disks over as a transfer takes them', () => {
    const made = plan({ disks: [vda, raw('vdb')] });
    const common = { role: 'system', bus: 'virtio', sizeBytes: 1 << 30 };
    expect(made).toMatchObject({
      disks: [
        { ...common, diskId: vda.id, target: 'vda', path: '/vms/vda.qcow2', format: 'qcow2' },
        { ...common, target: 'vdb', path: '/vms/vdb.qcow2', format: 'raw', untracked: true },
      ],
    });
  });
});
