import { releaseTraits } from '../platform/release.js';
import { type SnapshotKind } from '../platform/snapshots.js';
import { type VmRecord } from '../platform/state.js';
import { type Platform } from './platform.js';

/**
 * What the emulated release can't do, as the CVM's words, or null. R9: up to E0760 an external snapshot and incrementals do
 * not go together: it is refused for a machine that has checkpoints.
 */
export async function refusedByRelease(
  platform: Platform,
  vm: VmRecord,
  kind: SnapshotKind,
): Promise<string | null> {
  const { release } = platform.settings;
  if (kind !== 'external' || releaseTraits[release].externalIncremental) return null;
  const { libvirt } = platform.machines.host(vm.hostId);
  if ((await libvirt.checkpointNames(vm.uuid)).length === 0) return null;
  return `版本 ${release} 不支持对已启用增量备份的虚拟机创建外部快照。`;
}
