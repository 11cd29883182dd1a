import {
  captureDiskRequestSchema,
  Fault,
  type BackupSpec,
  type CaptureMethod,
  type Disk,
  type ReasonCode,
  type VmFacts,
} from '@casvault/contracts';
import { type ProtectVm } from './protection.js';
import { trackingOf, type DiskTracking, type Parent } from './tracking.rules.js';

/** The facts of the platform that decide (spec/restrictions.md). */
export type CaptureFacts = Pick<VmFacts, 'vm' | 'capabilities' | 'restartNeeded'>;
/** What of the request decides. */
export type CaptureAsk = Pick<ProtectVm, 'diskIds' | 'cbt' | 'powerOff'>;

/** `power-off`: the VM is shut down, read offline and started again (R6). */
export type PlannedMethod = CaptureMethod | 'power-off';

/** How one VM is captured, or why it is not. */
export type CapturePlan =
  | {
      readonly outcome: 'capture';
      readonly method: PlannedMethod;
      readonly disks: BackupSpec['disks'];
      /** Disks of the VM that the point does not hold, with a reason's code (R4, D1). */
      readonly excludedDisks: BackupSpec['excludedDisks'];
      /** By target; every disk of `disks`. */
      readonly tracking: Readonly<Record<string, DiskTracking>>;
      readonly reasons: readonly ReasonCode[];
    }
  | Refusal
  /** `cbt.fallback` is one of the skips and a disk that could have a valid bitmap is known to have none. */
  | { readonly outcome: 'skipped'; readonly fault: Fault; readonly reasons: readonly ReasonCode[] };

interface Refusal {
  readonly outcome: 'refused';
  readonly fault: Fault;
  readonly reasons: readonly ReasonCode[];
}

/** As the contract of a transfer allows. */
const maxDisks = 64;
/** R9: an internal snapshot with a larger disk can stall the guest. */
const stallBytes = 2 * 1024 ** 4;
const { target: targetSchema } = captureDiskRequestSchema.shape;

const refuse = (fault: Fault, ...reasons: ReasonCode[]): Refusal => ({ outcome: 'refused', fault, reasons });
const refuseCapture = (message: string, ...reasons: ReasonCode[]): Refusal =>
  refuse(new Fault('CAPTURE_REFUSED', message), ...reasons);

/** R11, and what nobody can tell. */
const stateRefusals: Partial<Record<VmFacts['vm']['powerState'], { why: string; reason: ReasonCode }>> = {
  paused: { why: 'is paused; a paused VM is not backed up', reason: 'VM_PAUSED' },
  migrating: { why: 'is migrating; it can be backed up afterwards', reason: 'VM_MIGRATING' },
  unknown: { why: 'is in a state that the platform does not know', reason: 'VM_STATE_UNKNOWN' },
};

/** Why a disk can't be read by any method, or null. */
const unreadable = ({ format, path, target }: Disk): string | null => {
  if (format === 'unknown') return 'has a format other than qcow2 and raw';
  if (!path.startsWith('/')) return `is not a file or block device of the host (${path})`;
  if (!targetSchema.safeParse(target).success) return 'has a device name that is not a disk of a guest';
  return null;
};

const refuseState = ({ vm }: CaptureFacts): Refusal | null => {
  const refusal = stateRefusals[vm.powerState];
  if (!refusal) return null;
  // R11: a migration passes, so that it is worth another attempt.
  const code = vm.powerState === 'migrating' ? 'PLATFORM_BUSY' : 'VM_STATE_REFUSED';
  return refuse(new Fault(code, `VM '${vm.name}' ${refusal.why}`), refusal.reason);
};

/** R2 holds for the whole VM, chosen or not; R10 and what can't be read for the disks that are asked for. */
const refuseDisks = ({ vm, restartNeeded }: CaptureFacts, disks: readonly Disk[]): Refusal | null => {
  const { name } = vm;
  if (disks.length === 0) return refuseCapture(`VM '${name}' has no disk to back up`);
  if (disks.length > maxDisks)
    return refuseCapture(`VM '${name}' has ${disks.length} disks, more than ${maxDisks}`);
  const named = (all: readonly Disk[]) => all.map(({ target }) => target).join(', ');
  const encrypted = vm.disks.filter((disk) => disk.encrypted);
  if (encrypted.length > 0)
    return refuseCapture(`VM '${name}' has encrypted disks (${named(encrypted)})`, 'DISK_ENCRYPTED');
  const cold = disks.filter(({ target }) => vm.powerState === 'running' && restartNeeded.includes(target));
  if (cold.length > 0)
    return refuseCapture(
      `VM '${name}' must be restarted first: ${named(cold)} was added to a bus without hot plug`,
      'RESTART_NEEDED',
    );
  const complaints = disks.flatMap((disk) => {
    const why = unreadable(disk);
    return why === null ? [] : [`disk ${disk.target} ${why}`];
  });
  if (complaints.length === 0) return null;
  return refuseCapture(`VM '${name}': ${complaints.join('; ')}`, 'DISK_UNSUPPORTED');
};

/** D1: the disks that are asked for; a chosen one that is not there any more is not passed over in silence. */
const chosenDisks = ({ vm }: CaptureFacts, { diskIds }: CaptureAsk): readonly Disk[] | Refusal => {
  if (!diskIds) return vm.disks;
  const missing = diskIds.find((id) => !vm.disks.some((disk) => disk.id === id));
  if (missing !== undefined)
    return refuseCapture(`VM '${vm.name}' has no disk ${missing} any more, which the job names`);
  return vm.disks.filter(({ id }) => diskIds.includes(id));
};

/** R3, R6: no snapshot of the platform holds it. */
const isOfflineOnly = ({ format, fileType }: Disk): boolean => format === 'raw' || fileType === 'block';
const isIndependent = ({ mode }: Disk): boolean => mode === 'independent-persistent';

interface Snapshotting {
  readonly method: 'internal-snapshot' | 'external-snapshot';
  readonly disks: readonly Disk[];
}

/**
 * R1, R4, R9: a snapshot that holds all disks and does not stall before one that does, a whole one before one that leaves
 * independent disks out. Null: none can be made.
 */
const chooseSnapshot = (
  { internalSnapshot, externalSnapshot }: VmFacts['capabilities'],
  disks: readonly Disk[],
): Snapshotting | null => {
  const dependent = disks.filter((disk) => !isIndependent(disk));
  const canStall = disks.some(({ sizeBytes }) => sizeBytes > stallBytes);
  const external: Snapshotting | null =
    externalSnapshot && dependent.length > 0 ? { method: 'external-snapshot', disks: dependent } : null;
  if (external?.disks.length === disks.length) return external;
  const internal: Snapshotting | null = internalSnapshot ? { method: 'internal-snapshot', disks } : null;
  return canStall ? (external ?? internal) : (internal ?? external);
};

interface Chosen {
  readonly method: PlannedMethod;
  readonly disks: readonly Disk[];
  readonly reason: ReasonCode;
}

const chooseMethod = (facts: CaptureFacts, ask: CaptureAsk, disks: readonly Disk[]): Chosen | Refusal => {
  const { vm, capabilities } = facts;
  if (vm.powerState === 'stopped') return { method: 'offline', disks, reason: 'CAPTURE_OFFLINE' };
  // R9: nothing stalls, nothing is left out, and raw and block disks take part (R3, R4, R6).
  if (capabilities.liveExport) return { method: 'live', disks, reason: 'CAPTURE_LIVE' };
  const offlineOnly = disks.filter(isOfflineOnly);
  const snapshot = offlineOnly.length > 0 ? null : chooseSnapshot(capabilities, disks);
  if (snapshot?.method === 'internal-snapshot') return { ...snapshot, reason: 'CAPTURE_INTERNAL_SNAPSHOT' };
  if (snapshot) return { ...snapshot, reason: 'CAPTURE_EXTERNAL_SNAPSHOT' };
  if (ask.powerOff) return { method: 'power-off', disks, reason: 'CAPTURE_POWERED_OFF' };
  const why =
    offlineOnly.length > 0
      ? `its disks ${offlineOnly.map(({ target }) => target).join(', ')} can't be captured while it runs`
      : "its disks can't be captured while it runs";
  return refuseCapture(
    `VM '${vm.name}' is running and ${why}; the job does not allow to shut it down (powerOff)`,
    'POWER_OFF_NEEDED',
  );
};

const excludedOf = (
  all: readonly Disk[],
  chosen: readonly Disk[],
  captured: readonly Disk[],
): BackupSpec['excludedDisks'] =>
  all
    .filter((disk) => !captured.includes(disk))
    .map((disk) => ({
      target: disk.target,
      reason: (chosen.includes(disk) ? 'DISK_LEFT_OUT' : 'DISK_NOT_CHOSEN') satisfies ReasonCode,
    }));

const specDisk = (
  { id, target, path, role, bus, format, sizeBytes }: Disk,
  { isBegun }: DiskTracking,
): BackupSpec['disks'][number] => ({
  diskId: id,
  target,
  path,
  role,
  bus,
  format: format === 'raw' ? 'raw' : 'qcow2',
  sizeBytes,
  ...(isBegun ? {} : { untracked: true }),
});

const isRefusal = (value: object): value is Refusal => 'outcome' in value;

/**
 * How a VM is captured now: what nothing stalls and nothing is left out of comes first. A disk that can't be read refuses the
 * whole VM: a point without it would pass for one of the VM.
 */
export const planCapture = (facts: CaptureFacts, ask: CaptureAsk, parent: Parent | null): CapturePlan => {
  const stateRefusal = refuseState(facts);
  if (stateRefusal) return stateRefusal;
  const asked = chosenDisks(facts, ask);
  if (isRefusal(asked)) return asked;
  const refusal = refuseDisks(facts, asked);
  if (refusal) return refusal;
  const chosen = chooseMethod(facts, ask, asked);
  if (isRefusal(chosen)) return chosen;
  const { method, disks, reason } = chosen;
  const tracking = trackingOf(disks, { method, capabilities: facts.capabilities, cbt: ask.cbt, parent });
  if (tracking.skip !== null) {
    const fault = new Fault('CBT_INVALID', `VM '${facts.vm.name}' has no valid CBT: ${tracking.skip}`);
    return { outcome: 'skipped', fault, reasons: ['SKIPPED_WITHOUT_CBT'] };
  }
  const { byTarget } = tracking;
  const excludedDisks = excludedOf(facts.vm.disks, asked, disks);
  const leftOut: ReasonCode[] = disks.length < asked.length ? ['DISK_LEFT_OUT'] : [];
  return {
    outcome: 'capture',
    method,
    disks: disks.map((disk) => specDisk(disk, byTarget[disk.target]!)),
    excludedDisks,
    tracking: byTarget,
    reasons: [reason, ...leftOut],
  };
};
