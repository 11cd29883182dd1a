import { decideCapture } from './capture.rules.js';
import { sampleFacts } from './testing/samples.js';

const { vm } = sampleFacts();
const [disk] = vm.disks;
const withDisk = (change: object) => decideCapture(sampleFacts({ disks: [{ ...disk!, ...change }] }));

describe('capture rules', () => {
  it.each([
    ['running', 'live', 'CAPTURE_LIVE'],
    ['stopped', 'offline', 'CAPTURE_OFFLINE'],
  ] as const)('%s: %s', (powerState, method, reason) => {
    expect(decideCapture(sampleFacts({ powerState }))).toMatchObject({
      outcome: 'capture',
      method,
      reasons: [reason],
      disks: [{ target: 'vda', path: '/vms/db.qcow2', format: 'qcow2', sizeBytes: 1 << 30 }],
    });
  });

  it.each([
    ['paused', 'VM_PAUSED'],
    ['migrating', 'VM_MIGRATING'],
    ['unknown', 'VM_STATE_UNKNOWN'],
  ] as const)('%s: refused (R11)', (powerState, reason) => {
    const decision = decideCapture(sampleFacts({ powerState }));
    expect(decision).toMatchObject({ outcome: 'refused', reasons: [reason] });
    if (decision.outcome === 'refused') expect(decision.fault.code).toBe('VM_STATE_REFUSED');
  });

  it.each([
    [{ encrypted: true }, 'is encrypted'],
    [{ format: 'unknown' }, 'format other than'],
    [{ path: 'rbd/pool/image' }, 'rbd/pool/image'],
    [{ target: '../etc' }, 'device name'],
  ])('a disk with %j refuses the VM and is named', (change, words) => {
    const decision = withDisk(change);
    expect(decision).toMatchObject({ outcome: 'refused', reasons: ['DISK_UNSUPPORTED'] });
    if (decision.outcome === 'refused') expect(decision.fault.message).toContain(words);
  });

  it('takes raw and block disks of a running VM by the live export', () => {
    expect(withDisk({ format: 'raw', fileType: 'block', path: '/dev/vg/lv' })).toMatchObject({
      outcome: 'capture',
      disks: [{ format: 'raw', path: '/dev/vg/lv' }],
    });
  });

  it.each([0, 65])('refuses a VM with %d disks', (count) => {
    const disks = Array.from({ length: count }, (_, i) => ({ ...disk!, target: `vd${i}` }));
    expect(decideCapture(sampleFacts({ disks })).outcome).toBe('refused');
  });
});
