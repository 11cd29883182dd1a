import {
  captureDiskRequestSchema,
  Fault,
  type BackupSpec,
  type Disk,
  type ReasonCode,
  type VmFacts,
} from '@casvault/contracts';

/** How one VM is captured, or why it is not (spec/restrictions.md). */
export type CaptureDecision =
  | {
      readonly outcome: 'capture';
      readonly method: 'live' | 'offline';
      readonly disks: BackupSpec['disks'];
      readonly reasons: readonly ReasonCode[];
    }
  | { readonly outcome: 'refused'; readonly fault: Fault; readonly reasons: readonly ReasonCode[] };

/** As the contract of a transfer allows. */
const maxDisks = 64;
const { target: targetSchema } = captureDiskRequestSchema.shape;

type PowerState = VmFacts['vm']['powerState'];

/** R11: a paused or migrating VM is not backed up. */
const verdicts: Record<
  PowerState,
  { reason: ReasonCode } & ({ method: 'live' | 'offline' } | { refusal: string })
> = {
  running: { method: 'live', reason: 'CAPTURE_LIVE' },
  stopped: { method: 'offline', reason: 'CAPTURE_OFFLINE' },
  paused: { refusal: 'is paused; a paused VM is not backed up', reason: 'VM_PAUSED' },
  migrating: { refusal: 'is migrating; it can be backed up afterwards', reason: 'VM_MIGRATING' },
  unknown: { refusal: 'is in a state that the platform does not know', reason: 'VM_STATE_UNKNOWN' },
};

/** Why a disk can't be read, or null. R2 for encryption. */
const unreadable = (disk: Disk): string | null => {
  if (disk.encrypted) return 'is encrypted';
  if (disk.format === 'unknown') return 'has a format other than qcow2 and raw';
  if (!disk.path.startsWith('/')) return `is not a file or block device of the host (${disk.path})`;
  if (!targetSchema.safeParse(disk.target).success) return 'has a device name that is not a disk of a guest';
  return null;
};

const refuse = (fault: Fault, ...reasons: ReasonCode[]): CaptureDecision => ({
  outcome: 'refused',
  fault,
  reasons,
});

const refuseDisks = (name: string, disks: readonly Disk[]): CaptureDecision | null => {
  if (disks.length === 0) return refuse(new Fault('CAPTURE_REFUSED', `VM '${name}' has no disk to back up`));
  if (disks.length > maxDisks)
    return refuse(
      new Fault('CAPTURE_REFUSED', `VM '${name}' has ${disks.length} disks, more than ${maxDisks}`),
    );
  const complaints = disks.flatMap((disk) => {
    const why = unreadable(disk);
    return why === null ? [] : [`disk ${disk.target} ${why}`];
  });
  if (complaints.length === 0) return null;
  const fault = new Fault('CAPTURE_REFUSED', `VM '${name}': ${complaints.join('; ')}`);
  return refuse(fault, 'DISK_UNSUPPORTED');
};

/**
 * Running: all disks at one instant by the live export, raw and block disks too (the "beyond" of R3, R6). Stopped: as they
 * are. A disk that can't be read refuses the whole VM: a point without it would pass for one of the VM.
 */
export const decideCapture = ({ vm }: Pick<VmFacts, 'vm'>): CaptureDecision => {
  const verdict = verdicts[vm.powerState];
  if ('refusal' in verdict) {
    const fault = new Fault('VM_STATE_REFUSED', `VM '${vm.name}' ${verdict.refusal}`);
    return refuse(fault, verdict.reason);
  }
  const refused = refuseDisks(vm.name, vm.disks);
  if (refused) return refused;
  const disks = vm.disks.map(({ id, target, path, role, bus, format, sizeBytes }) => ({
    diskId: id,
    target,
    path,
    role,
    bus,
    format: format === 'raw' ? ('raw' as const) : ('qcow2' as const),
    sizeBytes,
  }));
  return { outcome: 'capture', method: verdict.method, disks, reasons: [verdict.reason] };
};
