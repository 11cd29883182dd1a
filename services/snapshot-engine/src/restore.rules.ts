import {
  Fault,
  restoreDiskSchema,
  restoreVolumeName,
  systemDiskOf,
  type Point,
  type RestoreOutline,
} from '@casvault/contracts';
import {
  type CreateImage,
  type CreateRestoreVm,
  type CreateRestoreVolume,
  type CreateVolume,
  type RestorablePoint,
  type Restore,
  type RestoreVm,
} from './restore.js';

const busOf = (bus: string): CreateRestoreVm['disks'][number]['bus'] => {
  const known = restoreDiskSchema.shape.bus.safeParse(bus);
  return known.success ? known.data : 'unknown';
};

const disksOf = ({ disks }: Pick<Point, 'disks'>): CreateRestoreVm['disks'] =>
  disks.map(({ target, sizeBytes, format, bus }) => ({ target, sizeBytes, format, bus: busOf(bus) }));

/** As asked; else as the point has them, those that hang on a switch. */
const nicsOf = (
  { nics: asked }: Pick<RestoreVm['target'], 'nics'>,
  { hardware }: RestorablePoint,
): CreateRestoreVm['nics'] => {
  const nics = asked ?? hardware.nics;
  return nics.flatMap(({ switchName, profileName, model }) =>
    switchName === null ? [] : [{ switchName, profileName, model }],
  );
};

/** What a VM and an image have alike: CPU, memory and networks as asked, else as the point has them. */
const hardwareOf = (target: RestoreVm['target'] | CreateImage['target'], source: RestorablePoint) => {
  const { hardware, configuration } = source;
  return {
    platformId: target.platformId,
    hostId: target.hostId,
    storageName: target.storageName,
    cpuCount: target.cpuCount ?? hardware.cpuCount,
    memoryMiB: target.memoryMiB ?? hardware.memoryMiB,
    nics: nicsOf(target, source),
    configuration,
  };
};

const sectionOf = (configuration: Record<string, unknown>, name: string): Record<string, unknown> => {
  const section = configuration[name];
  return typeof section === 'object' && section !== null ? (section as Record<string, unknown>) : {};
};

/** As the platform's configuration of the VM tells them; one where it does not, or where they do not fit. */
const coresOf = ({ configuration, hardware: { cpuCount } }: RestorablePoint): number => {
  const cores = Number(sectionOf(configuration, 'cpu')['cpuCores'] ?? 1);
  return Number.isInteger(cores) && cores > 0 && cpuCount % cores === 0 ? cores : 1;
};

/** F3: the VM of the point, as it was at the point. */
const planOriginal = (
  { itemId: restoreId, target }: Pick<RestoreVm, 'itemId' | 'target'>,
  source: RestorablePoint,
): CreateRestoreVm => {
  const { platformId, hostId, storageName, vmName, keepMac = false } = target;
  const { cpuCount, memoryMiB, nics } = source.hardware;
  return {
    ...{ restoreId, platformId, hostId, storageName, vmName, cpuCount, memoryMiB },
    coresPerSocket: coresOf(source),
    nics: nics.flatMap(({ mac, switchName, profileName, model }) =>
      switchName === null ? [] : [{ switchName, profileName, model, ...(keepMac && mac !== '' && { mac }) }],
    ),
    configuration: source.configuration,
    disks: disksOf(source.point),
    preallocation: 'thin',
    volumes: [],
    overwrite: false,
    becomesImage: false,
    sourceVmId: source.point.vmId,
    original: { leftOut: source.point.excludedDisks.map((disk) => disk.target) },
  };
};

export const isOriginalPath = ({ target }: Pick<Restore, 'target'>): boolean =>
  !('kind' in target) && target.path === 'original';

/** F3: why the point is not restored over its original path; null: it may be, or goes to a new one. */
export const refuseOriginalPath = (
  request: Pick<Restore, 'target'>,
  { point, hardware }: RestorablePoint,
): Fault | null => {
  if (!isOriginalPath(request)) return null;
  const refuse = (rule: string): Fault =>
    new Fault('INPUT_INVALID', `path: ${rule}`, { details: { field: 'path', pointId: point.id } });
  if (request.target.platformId !== point.platformId)
    return refuse(`VM '${point.vmName}' is of another platform`);
  return hardware.nics.some(({ profileName }) => profileName !== null)
    ? null
    : refuse(
        `VM '${point.vmName}' had no network policy template at the point: restore it to a new path (S1)`,
      );
};

/** F4: a new VM with the point's disks; F3: or the VM of the point. */
export const planRestoreVm = (
  request: Pick<RestoreVm, 'itemId' | 'target'>,
  source: RestorablePoint,
): CreateRestoreVm => (isOriginalPath(request) ? planOriginal(request, source) : planNew(request, source));

const planNew = (
  { itemId: restoreId, target }: Pick<RestoreVm, 'itemId' | 'target'>,
  source: RestorablePoint,
): CreateRestoreVm => ({
  ...hardwareOf(target, source),
  restoreId,
  vmName: target.vmName,
  coresPerSocket: target.coresPerSocket ?? 1,
  disks: disksOf(source.point),
  preallocation: target.preallocation ?? 'thin',
  volumes: target.volumes ?? [],
  overwrite: target.overwrite ?? false,
  becomesImage: false,
  sourceVmId: source.point.vmId,
});

/** F4: what the platform would be asked for, in the words of a preview. */
export const outlineOf = (request: Omit<CreateRestoreVm, 'restoreId'>): RestoreOutline => {
  const { cpuCount, coresPerSocket, memoryMiB, nics, preallocation, disks } = request;
  return { cpuCount, coresPerSocket, memoryMiB, nics, preallocation, disks };
};

/** F9: the VM that becomes an image, with the point's system disk alone; a fault when the point holds none. Never started, it clashes with nothing. */
export const planRestoreImage = (
  { itemId: restoreId, target }: CreateImage,
  source: RestorablePoint,
): CreateRestoreVm | Fault => {
  const { point } = source;
  const disk = systemDiskOf(point);
  if (disk === null)
    return new Fault(
      'INPUT_INVALID',
      `pointId: an image is made of a system disk, point ${point.id} of VM '${point.vmName}' holds none`,
      { details: { field: 'pointId', pointId: point.id } },
    );
  return {
    ...hardwareOf(target, source),
    restoreId,
    vmName: target.name,
    coresPerSocket: 1,
    preallocation: 'thin',
    disks: disksOf({ disks: [disk] }),
    volumes: [],
    overwrite: false,
    becomesImage: true,
  };
};

/** F9: a volume with one of the point's disks; a fault when the point does not hold that disk. */
export const planRestoreVolume = (
  { itemId: restoreId, target: wanted }: CreateVolume,
  { point }: RestorablePoint,
): CreateRestoreVolume | Fault => {
  const { target, platformId, hostId, storageName, name, attachTo } = wanted;
  const disk = disksOf(point).find((one) => one.target === target);
  if (disk) return { restoreId, platformId, hostId, storageName, name, attachTo, disk };
  return new Fault('NOT_FOUND', `point ${point.id} of VM '${point.vmName}' does not hold disk ${target}`, {
    details: { pointId: point.id, target },
  });
};

/** What the platform has of it until it is handed over, in words for the operator, by its name there, and the field that tells that. */
export const halfMade = ({
  target,
  itemId,
}: Restore): { what: string; name: string; field: 'leftVm' | 'leftVolume' | 'leftImage' } => {
  if (!('kind' in target)) {
    const what =
      (target.overwrite ?? target.path === 'original') ? 'VM that carries the disks for' : 'half-restored VM';
    return { what, name: target.vmName, field: 'leftVm' };
  }
  return target.kind === 'disk'
    ? { what: 'half-made volume', name: restoreVolumeName(target.name, itemId), field: 'leftVolume' }
    : { what: 'half-made image', name: target.name, field: 'leftImage' };
};

/** F4: room that was asked for is not given back where the point has zeros. */
export const keepsRoom = ({ target }: Pick<Restore, 'target'>): boolean =>
  !('kind' in target) && (target.preallocation ?? 'thin') !== 'thin';

/** Only what is durable in the pool can be restored. */
export const refuseUnrestorable = ({ id, state, vmName }: Point): Fault | null =>
  state === 'available'
    ? null
    : new Fault('CONFLICT', `point ${id} of VM '${vmName}' is ${state}, not available`, {
        details: { pointId: id, state },
      });
