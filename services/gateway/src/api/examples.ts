/** One consistent small world, for the examples of the document; a test holds every example against its schema. */
const at = '2026-03-02T21:00:00Z';
const later = '2026-03-02T21:04:10Z';

export const ids = {
  user: '0195580e-7a10-7000-8000-000000000001',
  apiToken: '0195580e-7a10-7000-8000-000000000002',
  platform: '0195580e-7a10-7000-8000-000000000010',
  host: '0195580e-7a10-7000-8000-000000000011',
  vm: '0195580e-7a10-7000-8000-000000000012',
  disk: '0195580e-7a10-7000-8000-000000000013',
  backupHost: '0195580e-7a10-7000-8000-000000000020',
  pool: '0195580e-7a10-7000-8000-000000000030',
  otherPool: '0195580e-7a10-7000-8000-000000000031',
  job: '0195580e-7a10-7000-8000-000000000040',
  run: '0195580e-7a10-7000-8000-000000000041',
  runItem: '0195580e-7a10-7000-8000-000000000042',
  chain: '0195580e-7a10-7000-8000-000000000050',
  point: '0195580e-7a10-7000-8000-000000000051',
  deletion: '0195580e-7a10-7000-8000-000000000060',
  verification: '0195580e-7a10-7000-8000-000000000070',
  licence: '0195580e-7a10-7000-8000-000000000090',
} as const;

export const page = (...items: unknown[]): unknown => ({ items, nextCursor: null });

export const principal = {
  userId: ids.user,
  userName: 'admin',
  roles: ['administrator'],
  via: 'session',
};

export const session = {
  token: 'cvs_Zm9yIHRoZSBleGFtcGxlIG9ubHk',
  expiresAt: '2026-03-03T09:00:00Z',
  principal,
};

export const apiToken = {
  id: ids.apiToken,
  name: 'nightly script',
  createdAt: at,
  expiresAt: null,
  lastUsedAt: null,
};

/** Signed with a key that nobody trusts. */
export const licenceText =
  'eyJhbGciOiJFZDI1NTE5IiwidHlwIjoiY2FzdmF1bHQtbGljZW5jZS12MSJ9.eyJob2xkZXIiOiJFeGFtcGxlIEdtYkgifQ.Zm9yIHRoZSBleGFtcGxlIG9ubHk';
export const licence = {
  id: ids.licence,
  holder: 'Example GmbH',
  modules: { 'backup-host': 20, 'h3c-cas': 2 },
  features: ['advanced'],
  issuedAt: at,
  expiresAt: '2027-03-02T21:00:00Z',
  state: 'valid',
  importedAt: later,
};

export const platform = {
  id: ids.platform,
  name: 'CAS Hangzhou',
  type: 'h3c-cas',
  address: '192.0.2.10',
  ssl: true,
  port: 8443,
  userName: 'admin',
  version: 'E0760',
  architecture: 'x86_64',
  state: 'online',
  stateMessage: null,
  lastSyncAt: at,
  createdAt: at,
};

export const finding = {
  kind: 'snapshot',
  vmName: 'db-01',
  itemId: ids.runItem,
  name: `casvault-${ids.runItem}`,
  outcome: 'removed',
  message: null,
};

export const host = {
  id: ids.host,
  platformId: ids.platform,
  externalId: '1',
  name: 'cvknode1',
  ip: '192.0.2.11',
  status: 'normal',
  cpuCount: 32,
  memoryMiB: 262_144,
  vmCount: 18,
};

const nic = { mac: '0c:da:41:1d:00:01', switchName: 'vswitch0', profileName: 'default', model: 'virtio' };

export const vm = {
  id: ids.vm,
  platformId: ids.platform,
  externalId: '42',
  uuid: '3f0c1e2a-8d1b-4c55-9f43-7b1d2f3e4a50',
  name: 'erp-db',
  title: 'ERP database',
  hostId: ids.host,
  hostName: 'cvknode1',
  hostIp: '192.0.2.11',
  powerState: 'running',
  cpuCount: 4,
  memoryMiB: 16_384,
  disks: [
    {
      id: ids.disk,
      target: 'vda',
      path: '/vms/images/erp-db.qcow2',
      format: 'qcow2',
      fileType: 'file',
      bus: 'virtio',
      role: 'system',
      mode: 'dependent',
      sizeBytes: 107_374_182_400,
      storageName: 'images',
      cbtCapable: true,
      encrypted: false,
    },
  ],
  nics: [nic],
};

export const storage = {
  hostId: ids.host,
  name: 'images',
  title: 'images',
  type: 'dir',
  path: '/vms/images',
  capacityBytes: 4_398_046_511_104,
  freeBytes: 3_298_534_883_328,
  active: true,
};

export const virtualSwitch = {
  hostId: ids.host,
  externalId: '1',
  name: 'vswitch0',
  mode: 'veb',
  networkType: 'management',
  address: '192.0.2.11',
};

export const networkProfile = { externalId: '1', name: 'default', description: '' };

export const image = {
  externalId: '131',
  name: 'db-01-golden',
  title: 'db-01-golden',
  hostId: ids.host,
  cpuCount: 4,
  memoryMiB: 8192,
};

export const backupHost = {
  id: ids.backupHost,
  name: 'mover-1',
  group: 'default',
  address: '192.0.2.20',
  timeZone: 'Asia/Shanghai',
  version: '0.1.0',
  contentUrl: 'http://192.0.2.20:9443/v1/content',
  state: 'online',
  lastSeenAt: at,
};

export const pool = {
  id: ids.pool,
  name: 'nightly',
  type: 'object',
  location: {
    kind: 's3',
    endpoint: 'https://s3.example.org',
    region: 'us-east-1',
    bucket: 'backups',
    prefix: 'casvault/',
    accessKeyId: 'BACKUPKEY',
    forcePathStyle: true,
  },
  capacityBytes: null,
  freeBytes: null,
  createdAt: at,
};

const options = {
  compression: { mode: 'fast' },
  reconnect: { minutes: 10, bufferMiB: 10 },
  speedLimit: [{ from: '08:00', to: '18:00', rate: 50, unit: 'MiB/s', appliesTo: 'transfer' }],
  transport: { bufferKiB: 1024, logLevel: 'info', connectMinutes: 10 },
};

export const job = {
  id: ids.job,
  name: 'ERP, every night',
  definition: {
    kind: 'backup',
    vmIds: [ids.vm],
    hostIds: [],
    excludedVmIds: [],
    poolId: ids.pool,
    group: 'default',
    parallel: { vms: 2, vmsPerHost: 2, disksPerVm: 1, streamsPerDisk: 1 },
    pointKind: 'incremental',
    cbt: { enable: true, fallback: 'full' },
    powerOff: false,
    network: { preferred: 'auto' },
    reserve: { freePercent: 10, freeGiB: 500 },
    retry: { count: 3, intervalMinutes: 10 },
    precondition: {
      type: 'http',
      method: 'GET',
      url: 'https://erp.example.org/ready',
      expectStatus: [200],
      timeoutSeconds: 60,
    },
    scripts: {
      pre: { script: 'freeze-erp', arguments: ['--wait', '30'], timeoutSeconds: 300 },
      post: { script: 'thaw-erp', arguments: [], timeoutSeconds: 300 },
    },
    options,
  },
  plans: [
    {
      type: 'weekly',
      time: '22:00',
      everyWeeks: 1,
      weekdays: ['saturday'],
      startDate: '2026-03-02',
      pointKind: 'full',
    },
    { type: 'daily', time: '02:00', everyDays: 1, startDate: '2026-03-02', pointKind: 'incremental' },
  ],
  enabled: true,
  version: 1,
  timeZone: 'Asia/Shanghai',
  nextRunAt: '2026-03-03T18:00:00Z',
  lastRunId: ids.run,
  lastRunState: 'running',
  createdAt: at,
};

export const planPreview = {
  timeZone: 'Europe/Berlin',
  dues: [
    { at: '2026-03-28T01:30:00Z', local: '2026-03-28T02:30:00' },
    { at: '2026-03-29T01:00:00Z', local: '2026-03-29T03:00:00' },
    { at: '2026-03-30T00:30:00Z', local: '2026-03-30T02:30:00' },
  ],
};

const restoredVm = {
  platformId: ids.platform,
  hostId: ids.host,
  storageName: 'images',
  memoryMiB: 8192,
  nics: [],
  preallocation: 'lazy-zeroed',
} as const;

export const restoreRequest = {
  name: 'ERP as of Monday',
  definition: {
    kind: 'restore',
    defaults: { ...restoredVm, vmNamePrefix: 'monday-' },
    items: [{ pointId: ids.point, target: { powerOn: true } }],
    parallel: { vms: 2, vmsPerHost: 1 },
  },
  plans: [{ type: 'immediate' }],
};

export const restorePreview = {
  itemCount: 1,
  items: [
    {
      index: 0,
      pointId: ids.point,
      sourceVmName: vm.name,
      capturedAt: at,
      target: { ...restoredVm, vmName: `monday-${vm.name}`, powerOn: true },
      outline: {
        cpuCount: 4,
        coresPerSocket: 1,
        memoryMiB: 8192,
        nics: [],
        preallocation: 'lazy-zeroed',
        disks: [{ target: 'vda', sizeBytes: 107_374_182_400, format: 'qcow2', bus: 'virtio' }],
      },
      refusals: [],
      notices: ['UEFI_NOTICE'],
    },
  ],
  refusals: [],
  confirmation: { code: 'K7QD-3MZA-X0PW', expiresAt: '2026-03-02T21:10:00Z' },
};

export const silentBackup = {
  name: 'test machines, every night',
  definition: { kind: 'backup', vmIds: [ids.vm], poolId: ids.pool, cbt: { fallback: 'skip-silent' } },
  plans: [{ type: 'daily', time: '02:00' }],
};

export const backupPreview = {
  notices: ['SKIPS_SILENTLY'],
  confirmation: { code: 'K7QD-3MZA-X0PW', expiresAt: '2026-03-02T21:10:00Z' },
};

export const contentPreview = {
  itemCount: 1,
  items: [{ vmId: ids.vm, vmName: vm.name, hostName: vm.hostName, fault: null }],
};

export const checkedStage = {
  refusals: [],
  content: contentPreview,
  hostsOnline: null,
  plans: null,
  options: null,
};

export const run = {
  id: ids.run,
  jobId: ids.job,
  jobName: job.name,
  kind: 'backup',
  state: 'running',
  dueAt: at,
  reasons: [],
  fault: null,
  createdAt: at,
  startedAt: at,
  finishedAt: null,
  doneBytes: 21_474_836_480,
  storedBytes: 9_663_676_416,
  itemCount: 1,
};

export const runDetail = {
  ...run,
  etaSeconds: 100,
  items: [
    {
      id: ids.runItem,
      kind: 'backup',
      vmId: ids.vm,
      vmName: vm.name,
      state: 'running',
      phase: 'transferring',
      attempt: 1,
      earlierFault: null,
      retryAt: null,
      pointId: ids.point,
      restoredVmId: null,
      volumeName: null,
      imageName: null,
      imageId: null,
      progress: [
        {
          target: 'vda',
          totalBytes: 42_949_672_960,
          doneBytes: 21_474_836_480,
          storedBytes: 9_663_676_416,
          resumedBytes: 0,
          bytesPerSecond: 214_748_364,
          etaSeconds: 100,
        },
      ],
      etaSeconds: 100,
      reasons: ['FULL_FIRST_POINT', 'CAPTURE_LIVE'],
      fault: null,
      startedAt: at,
      finishedAt: null,
    },
  ],
  hooks: [
    {
      hook: 'pre',
      state: 'succeeded',
      reasons: [],
      fault: null,
      exitCode: 0,
      httpStatus: null,
      askedAt: at,
      startedAt: at,
      finishedAt: at,
    },
  ],
};

export const chain = {
  id: ids.chain,
  vmId: ids.vm,
  vmName: vm.name,
  poolId: ids.pool,
  diskIds: null,
  createdAt: at,
  hold: null,
  copyOf: null,
};

export const point = {
  id: ids.point,
  chainId: ids.chain,
  parentPointId: null,
  kind: 'full',
  state: 'available',
  platformId: ids.platform,
  vmId: ids.vm,
  vmName: vm.name,
  poolId: ids.pool,
  runId: ids.run,
  createdAt: at,
  capturedAt: at,
  availableAt: later,
  method: 'live',
  consistency: 'crash',
  disks: [
    {
      diskId: ids.disk,
      target: 'vda',
      role: 'system',
      bus: 'virtio',
      format: 'qcow2',
      sizeBytes: 107_374_182_400,
      readBytes: 42_949_672_960,
      storedBytes: 19_327_352_832,
      mapRoot: null,
      reasons: [],
      tracked: false,
      suspect: false,
    },
  ],
  excludedDisks: [],
  poolBytes: 19_328_401_408,
  reasons: ['FULL_FIRST_POINT', 'CAPTURE_LIVE'],
  fault: null,
  hold: null,
  verification: { id: ids.verification, depth: 'content', state: 'damaged', at: later },
  copyOf: null,
};

export const hold = { reason: 'audit 2026-17', by: 'admin', at };

export const deletion = {
  id: ids.deletion,
  chainId: ids.chain,
  vmId: ids.vm,
  vmName: vm.name,
  poolId: ids.pool,
  mode: 'cascade',
  state: 'ready',
  points: [
    {
      id: ids.point,
      vmId: ids.vm,
      vmName: vm.name,
      capturedAt: at,
      kind: 'full',
      poolBytes: 19_328_401_408,
    },
  ],
  successorIds: [],
  newHeadPointId: null,
  chainGoes: true,
  freedBytes: 19_328_401_408,
  requestedBy: 'admin',
  confirmedBy: null,
  createdAt: later,
  expiresAt: '2026-03-03T21:04:10Z',
  finishedAt: null,
  reasons: [],
  fault: null,
};

export const portCheck = {
  role: 'cvk',
  name: host.name,
  address: host.ip,
  port: 8192,
  answer: 'silent',
  isFault: true,
};
export const closedPort = `CVK ${host.name} (${host.ip}), port 8192: no answer, as from behind a firewall`;
