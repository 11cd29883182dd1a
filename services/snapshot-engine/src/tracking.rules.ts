import {
  type ChainId,
  type Disk,
  type Point,
  type PointId,
  type ReasonCode,
  type Tracking,
  type VmFacts,
} from '@casvault/contracts';
import { type ProtectVm } from './protection.js';

/** The newest available point of the chain that is extended. */
export interface Parent {
  readonly pointId: PointId;
  readonly chainId: ChainId;
  readonly disks: readonly Pick<Point['disks'][number], 'diskId' | 'sizeBytes' | 'suspect'>[];
  /** Available points of the chain. */
  readonly pointCount: number;
}

/** What is known of one disk's bitmaps before its host is asked. */
export interface DiskTracking {
  /** A bitmap begins at this point. */
  readonly isBegun: boolean;
  /** The bitmap since the parent is asked for. */
  readonly isIncremental: boolean;
  /** Why it is not, though there is a parent. */
  readonly reasons: readonly ReasonCode[];
}

interface Conditions {
  readonly method: 'live' | 'offline' | 'internal-snapshot' | 'external-snapshot' | 'power-off';
  readonly capabilities: VmFacts['capabilities'];
  readonly cbt: ProtectVm['cbt'];
  readonly parent: Parent | null;
}

/** Platforms tell sizes in whole MiB, points to the byte: within one the host decides. */
const platformUnitBytes = 1 << 20;
/** The slow pass compares every disk once in so many points of a chain. */
const sweepParts = 30;

/** Why no bitmap can begin on the disk, or null. R5 for the disk, R8 and R9 for the release. */
const notBegun = (disk: Disk, { method, capabilities, cbt }: Conditions): ReasonCode | null => {
  if (!cbt.enable) return 'CBT_DISABLED';
  if (disk.format !== 'qcow2' || !disk.cbtCapable) return 'CBT_UNSUPPORTED';
  if (method === 'live' && !capabilities.liveIncremental) return 'INCREMENTAL_UNSUPPORTED';
  if (method === 'external-snapshot' && !capabilities.externalIncremental) return 'INCREMENTAL_UNSUPPORTED';
  return method === 'internal-snapshot' ? 'BITMAP_UNAVAILABLE' : null;
};

/** Why what the catalogue knows forbids a bitmap since the parent, or null. */
const doubt = (disk: Disk, parent: Parent): ReasonCode | null => {
  const before = parent.disks.find(({ diskId }) => diskId === disk.id);
  if (!before) return 'DISK_ADDED';
  if (Math.abs(before.sizeBytes - disk.sizeBytes) >= platformUnitBytes) return 'DISK_RESIZED';
  return before.suspect ? 'POINT_SUSPECT' : null;
};

const trackingOfDisk = (disk: Disk, conditions: Conditions): DiskTracking => {
  const { parent } = conditions;
  const obstacle = notBegun(disk, conditions);
  const reason = parent && (obstacle ?? doubt(disk, parent));
  return {
    isBegun: obstacle === null,
    isIncremental: parent !== null && reason === null,
    reasons: reason ? [reason] : [],
  };
};

/** `cbt.fallback`: disks that can't have CBT and new ones are no reason to skip, as long as one has it. */
const skipOf = (
  disks: readonly Disk[],
  byTarget: Readonly<Record<string, DiskTracking>>,
  { cbt, parent }: Conditions,
): string | null => {
  if (!parent || cbt.fallback === 'full') return null;
  const told = ({ target }: Disk) => `${target} ${byTarget[target]?.reasons.join(', ') ?? ''}`;
  const without = disks.filter(({ target }) => byTarget[target]?.isIncremental !== true);
  const harmless: readonly (ReasonCode | undefined)[] = ['CBT_UNSUPPORTED', 'DISK_ADDED'];
  const invalid = without.filter(({ target }) => !harmless.includes(byTarget[target]?.reasons[0]));
  if (invalid.length > 0) return invalid.map(told).join('; ');
  return without.length === disks.length ? without.map(told).join('; ') : null;
};

/** By target how each disk is tracked, and why the VM is skipped rather than read in full, or null (R5, R8, `cbt.fallback`). */
export const trackingOf = (
  disks: readonly Disk[],
  conditions: Conditions,
): { readonly byTarget: Readonly<Record<string, DiskTracking>>; readonly skip: string | null } => {
  const byTarget = Object.fromEntries(
    disks.map((disk) => [disk.target, trackingOfDisk(disk, conditions)] as const),
  );
  return { byTarget, skip: skipOf(disks, byTarget, conditions) };
};

/** The part of the rotating slow pass (G1) that falls to the next point of a chain; null for the first. */
export const sweepPartOf = (parent: Parent | null): Tracking['sweepPart'] =>
  parent && parent.pointCount % sweepParts;
