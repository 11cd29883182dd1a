import { Fault, restoreDiskSchema, restoreVolumeName, type Point } from '@casvault/contracts';
import {
  isCreation,
  type CreateFromPoint,
  type CreateRestoreVm,
  type CreateRestoreVolume,
  type RestorablePoint,
  type Restore,
  type RestoreVm,
} from './restore.js';

const busOf = (bus: string): CreateRestoreVm['disks'][number]['bus'] => {
  const known = restoreDiskSchema.shape.bus.safeParse(bus);
  return known.success ? known.data : 'unknown';
};

const disksOf = ({ disks }: Point): CreateRestoreVm['disks'] =>
  disks.map(({ target, sizeBytes, format, bus }) => ({ target, sizeBytes, format, bus: busOf(bus) }));

/** As asked; else as the point has them, those that hang on a switch. */
const nicsOf = ({ target }: RestoreVm, { hardware }: RestorablePoint): CreateRestoreVm['nics'] => {
  const nics = target.nics ?? hardware.nics;
  return nics.flatMap(({ switchName, profileName, model }) =>
    switchName === null ? [] : [{ switchName, profileName, model }],
  );
};

/** F4: a new VM with the point's disks; CPU, memory and networks as asked, else as the point has them. */
export const planRestoreVm = (request: RestoreVm, source: RestorablePoint): CreateRestoreVm => {
  const { point, hardware, configuration } = source;
  const { target } = request;
  return {
    restoreId: request.itemId,
    platformId: target.platformId,
    hostId: target.hostId,
    storageName: target.storageName,
    vmName: target.vmName,
    cpuCount: target.cpuCount ?? hardware.cpuCount,
    memoryMiB: target.memoryMiB ?? hardware.memoryMiB,
    disks: disksOf(point),
    volumes: target.volumes ?? [],
    sourceVmId: point.vmId,
    nics: nicsOf(request, source),
    configuration,
  };
};

/** F9: a volume with one of the point's disks; a fault when the point does not hold that disk. */
export const planRestoreVolume = (
  { itemId: restoreId, target: wanted }: CreateFromPoint,
  { point }: RestorablePoint,
): CreateRestoreVolume | Fault => {
  const { target, platformId, hostId, storageName, name, attachTo } = wanted;
  const disk = disksOf(point).find((one) => one.target === target);
  if (disk) return { restoreId, platformId, hostId, storageName, name, attachTo, disk };
  return new Fault('NOT_FOUND', `point ${point.id} of VM '${point.vmName}' does not hold disk ${target}`, {
    details: { pointId: point.id, target },
  });
};

/** What the platform has of it until it is handed over, in words for the operator, and by its name there. */
export const halfMade = (restore: Restore): { what: string; name: string } =>
  isCreation(restore)
    ? { what: 'half-made volume', name: restoreVolumeName(restore.target.name, restore.itemId) }
    : { what: 'half-restored VM', name: restore.target.vmName };

/** Only what is durable in the pool can be restored. */
export const refuseUnrestorable = ({ id, state, vmName }: Point): Fault | null =>
  state === 'available'
    ? null
    : new Fault('CONFLICT', `point ${id} of VM '${vmName}' is ${state}, not available`, {
        details: { pointId: id, state },
      });
