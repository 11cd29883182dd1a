import {
  newId,
  transferOptionsSchema,
  type ChainId,
  type DiskId,
  type HostId,
  type JobId,
  type PlatformId,
  type PointId,
  type Pool,
  type PoolId,
  type RunId,
  type RunItemId,
  type Sealed,
  type TransferId,
  type VmFacts,
  type VmId,
} from '@casvault/contracts';
import { type ProtectionIds, type ProtectVm } from '../protection.js';
import { type CreateFromPoint, type RestorablePoint, type RestoreVm } from '../restore.js';
import { type RollbackFacts, type RollbackVm } from '../rollback.js';

export const samplePool: Pool = {
  id: newId<PoolId>(),
  name: 'pool',
  type: 'standard',
  location: { kind: 'fs', path: '/pool' },
  createdAt: '2026-01-01T00:00:00.000Z',
};
const sealed = 'sealed:v1:x' as Sealed;
const options = transferOptionsSchema.parse({});

export const sampleFacts = (vm: Partial<VmFacts['vm']> = {}): VmFacts => ({
  vm: {
    id: newId<VmId>(),
    platformId: newId<PlatformId>(),
    externalId: '7',
    uuid: '0b6a1a1e-6a0f-4f0e-9a53-2f4a5d1c9b11',
    name: 'db',
    title: 'Database',
    hostId: newId<HostId>(),
    hostName: 'cvk1',
    hostIp: '127.0.0.2',
    powerState: 'running',
    cpuCount: 2,
    memoryMiB: 512,
    disks: [
      {
        id: newId<DiskId>(),
        target: 'vda',
        path: '/vms/db.qcow2',
        format: 'qcow2',
        fileType: 'file',
        bus: 'virtio',
        role: 'system',
        mode: 'dependent',
        sizeBytes: 1 << 30,
        storageName: 'local',
        cbtCapable: true,
        encrypted: false,
      },
    ],
    nics: [{ mac: '0c:da:41:1d:00:01', switchName: 'vswitch0', profileName: null, model: 'virtio' }],
    ...vm,
  },
  platformVersion: 'E0760',
  platformName: 'lab',
  diskService: { url: 'http://127.0.0.2:8192', token: sealed },
  configuration: { name: 'db' },
  capabilities: {
    liveExport: true,
    liveIncremental: true,
    internalSnapshot: true,
    externalSnapshot: true,
    externalIncremental: true,
  },
  restartNeeded: [],
  reasons: [],
  storages: [],
});

export const sampleProtectVm = (): ProtectVm => ({
  itemId: newId<RunItemId>(),
  runId: newId<RunId>(),
  jobId: newId<JobId>(),
  vmId: newId<VmId>(),
  poolId: samplePool.id,
  group: 'default',
  pointKind: 'full',
  cbt: { enable: true, fallback: 'full' },
  powerOff: false,
  network: { preferred: 'auto' },
  reserve: { freePercent: null, freeGiB: null },
  options,
});
export const sampleIds = (): ProtectionIds => ({
  pointId: newId<PointId>(),
  chainId: newId<ChainId>(),
  transferId: newId<TransferId>(),
});

export const sampleSource = (): RestorablePoint => {
  const { vm, configuration } = sampleFacts();
  const request = sampleProtectVm();
  return {
    hardware: vm,
    configuration,
    point: {
      id: newId<PointId>(),
      chainId: newId<ChainId>(),
      parentPointId: null,
      kind: 'full',
      state: 'available',
      platformId: vm.platformId,
      vmId: vm.id,
      vmName: vm.name,
      poolId: samplePool.id,
      runId: request.runId,
      createdAt: '2026-01-01T00:00:00.000Z',
      capturedAt: '2026-01-01T00:00:01.000Z',
      availableAt: '2026-01-01T00:00:02.000Z',
      method: 'live',
      consistency: 'crash',
      excludedDisks: [],
      poolBytes: 0,
      disks: vm.disks.map(({ id, target, role, bus, sizeBytes }) => ({
        diskId: id,
        target,
        role,
        bus,
        format: 'qcow2',
        sizeBytes,
        readBytes: 0,
        storedBytes: 0,
        mapRoot: 'ab',
        reasons: [],
        tracked: false,
        suspect: false,
      })),
      reasons: [],
      fault: null,
      hold: null,
      verification: null,
      copyOf: null,
    },
  };
};
export const sampleRestoreVm = (pointId: PointId, powerOn = false): RestoreVm => ({
  itemId: newId<RunItemId>(),
  runId: newId<RunId>(),
  jobId: newId<JobId>(),
  pointId,
  group: 'default',
  target: {
    platformId: newId<PlatformId>(),
    hostId: newId<HostId>(),
    storageName: 'local',
    vmName: 'db-restored',
    powerOn,
  },
  network: { preferred: 'auto' },
  options,
});

export const sampleVolume = (pointId: PointId, target = 'vda'): CreateFromPoint => ({
  ...sampleRestoreVm(pointId),
  target: {
    kind: 'disk',
    target,
    platformId: newId<PlatformId>(),
    hostId: newId<HostId>(),
    storageName: 'local',
    name: 'data',
    attachTo: newId<VmId>(),
  },
});

export const sampleImage = (pointId: PointId): CreateFromPoint & { target: { kind: 'image' } } => ({
  ...sampleRestoreVm(pointId),
  target: {
    kind: 'image',
    platformId: newId<PlatformId>(),
    hostId: newId<HostId>(),
    storageName: 'local',
    name: 'golden',
    description: 'as of yesterday',
  },
});

export const sampleRollbackVm = (
  pointId: PointId,
  target: Partial<RollbackVm['target']> = {},
): RollbackVm => ({
  itemId: newId<RunItemId>(),
  runId: newId<RunId>(),
  jobId: newId<JobId>(),
  pointId,
  group: 'default',
  target: { startAfter: false, acceptMoved: false, ...target },
  network: { preferred: 'auto' },
  options,
});
/** A point of a VM with two disks, which are there as they were. */
export const sampleRollbackFacts = (powerState: VmFacts['vm']['powerState'] = 'running'): RollbackFacts => {
  const { vm, ...facts } = sampleFacts({ powerState });
  const [vda] = vm.disks;
  const vdb = { ...vda!, id: newId<DiskId>(), target: 'vdb', path: '/vms/db-1.qcow2', role: 'data' as const };
  const disks = [vda!, vdb];
  const { point } = sampleSource();
  return {
    point: {
      ...point,
      vmId: vm.id,
      disks: disks.map(({ id, target, role }) => ({ ...point.disks[0]!, diskId: id, target, role })),
    },
    configuration: { storage: disks.map(({ target, path }) => ({ deviceName: target, path })) },
    pool: samplePool,
    vm: { ...facts, vm: { ...vm, disks } },
    since: null,
  };
};
