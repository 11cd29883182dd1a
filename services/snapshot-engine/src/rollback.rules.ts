import {
  Fault,
  type DiskProgress,
  type FaultDetails,
  type FaultJson,
  type Point,
  type RollbackSpec,
  type VmFacts,
} from '@casvault/contracts';
import { refuseUnrestorable } from './restore.rules.js';
import { type RollbackFacts, type RollbackVm } from './rollback.js';

type PointDisk = Point['disks'][number];
type VmDisk = VmFacts['vm']['disks'][number];

/** Platforms tell sizes in whole MiB: a disk may end within one. */
const platformUnitBytes = 1 << 20;

const refused = (message: string, details: FaultDetails): never => {
  throw new Fault('CONFLICT', message, { details });
};

/** Where each disk lay, as the platform's configuration of the VM tells it; a disk that it does not tell of is missing. */
const pathsOf = ({ storage }: Record<string, unknown>): Map<string, string> => {
  const paths = new Map<string, string>();
  for (const row of Array.isArray(storage) ? (storage as unknown[]) : [storage]) {
    if (typeof row !== 'object' || row === null) continue;
    const { deviceName, path } = row as Record<string, unknown>;
    if (typeof deviceName === 'string' && typeof path === 'string') paths.set(deviceName, path);
  }
  return paths;
};

const chosenDisks = (point: Point, { target: { diskIds } }: RollbackVm): PointDisk[] => {
  const unknown = diskIds?.find((id) => !point.disks.some(({ diskId }) => diskId === id));
  if (unknown !== undefined)
    throw new Fault('INPUT_INVALID', `diskIds: point ${point.id} holds no disk ${unknown}`, {
      details: { field: 'diskIds', diskId: unknown },
    });
  return diskIds ? point.disks.filter(({ diskId }) => diskIds.includes(diskId)) : point.disks;
};

const refuseState = ({ vm }: VmFacts): void => {
  const { powerState, name } = vm;
  if (powerState === 'running' || powerState === 'stopped') return;
  throw new Fault(
    'VM_STATE_REFUSED',
    `VM '${name}' is ${powerState}: only a running or stopped VM is rolled back`,
    {
      details: { powerState },
    },
  );
};

/** The disk of the VM that is the point's: the same id, the same size, the same place. */
const sameDisk = (
  disk: PointDisk,
  now: VmDisk | undefined,
  before: string | undefined,
  acceptMoved: boolean,
): VmDisk => {
  const { target, sizeBytes } = disk;
  if (!now) return refused(`the VM has no disk ${target} any more`, { target });
  if (Math.abs(now.sizeBytes - sizeBytes) >= platformUnitBytes)
    return refused(`disk ${target} has ${now.sizeBytes} bytes now, ${sizeBytes} at the point`, {
      target,
      sizeBytes: now.sizeBytes,
      pointBytes: sizeBytes,
    });
  if (now.encrypted) return refused(`disk ${target} is encrypted now (R2)`, { target });
  if (!acceptMoved && before !== undefined && before !== now.path)
    return refused(
      `disk ${target} is '${now.path}' now, '${before}' at the point: if it is the same volume, moved, say so (acceptMoved)`,
      { target, path: now.path, pointPath: before },
    );
  return now;
};

const formatOf = ({ target, format }: VmDisk): 'qcow2' | 'raw' =>
  format === 'unknown' ? refused(`disk ${target} has a format that cannot be written`, { target }) : format;

/** What is written where, or a Fault that says why the VM can't be rolled back to the point (F8). */
export const planRollback = (request: RollbackVm, facts: RollbackFacts): RollbackSpec => {
  const { point, pool, vm, configuration, since } = facts;
  const unavailable = refuseUnrestorable(point);
  if (unavailable) throw unavailable;
  refuseState(vm);
  const paths = pathsOf(configuration);
  const disks = chosenDisks(point, request).map((disk) => {
    const now = vm.vm.disks.find(({ id }) => id === disk.diskId);
    const { acceptMoved } = request.target;
    const same = sameDisk(disk, now, paths.get(disk.target), acceptMoved);
    return { target: disk.target, path: same.path, format: formatOf(same), sizeBytes: same.sizeBytes };
  });
  return {
    kind: 'rollback',
    pointId: point.id,
    chainId: point.chainId,
    pool,
    diskService: vm.diskService,
    disks,
    since,
    runId: request.runId,
    options: request.options,
  };
};

const contentOf = (target: string, progress: DiskProgress | undefined): string => {
  if (!progress) return `disk ${target}: not touched, its content is the old`;
  if (progress.durable) return `disk ${target}: has the point's content`;
  const total = progress.totalBytes ?? 'an unknown number of';
  return `disk ${target}: ${progress.doneBytes} of ${total} bytes rolled back, is neither the old nor the new content`;
};

/** What each disk holds after an interrupted roll-back, in the fault that ended it. */
export const interruptedFault = (
  fault: FaultJson,
  { disks }: RollbackSpec,
  progress: readonly DiskProgress[],
): FaultJson => {
  const states = disks.map(({ target }) =>
    contentOf(
      target,
      progress.find((one) => one.target === target),
    ),
  );
  const message = `${fault.message}; ${states.join('; ')}; the VM is left off: roll back again to finish`;
  const unfinished = disks.filter(
    ({ target }) => !progress.some((one) => one.target === target && one.durable),
  );
  const details = { ...fault.details, unfinishedDisks: unfinished.map(({ target }) => target).join(' ') };
  return { code: fault.code, message, details };
};
