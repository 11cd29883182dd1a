import { randomBytes, randomUUID } from 'node:crypto';
import { listHosts, newId, type PlatformId, type Sealed, type VmId } from '@casvault/contracts';
import { openDatabase, provisionSchema } from '@casvault/persistence';
import { type PostgresServer, startPostgres, TestLogger } from '@casvault/testkit';
import { type DataSource } from 'typeorm';
import { inventoryDatabase } from '../src/data-source.js';
import { HostStore } from '../src/host-store.js';
import { type PlatformReading, type VmReading } from '../src/platform-reading.js';
import { PlatformStore } from '../src/platform-store.js';
import { ReadingStore } from '../src/reading-store.js';
import { VmStore } from '../src/vm-store.js';

/** H7: 10,000 VMs on 50 hosts. */
const vmCount = 10_000;
const hostCount = 50;
const platformId = newId<PlatformId>();
const at = (seconds: number): Date => new Date(Date.UTC(2026, 0, 1, 0, 0, seconds));

const vmOf = (index: number): VmReading => ({
  externalId: String(index),
  name: `vm-${String(index).padStart(5, '0')}`,
  title: `虚拟机 ${index}`,
  uuid: `00000000-0000-0000-0000-${String(index).padStart(12, '0')}`,
  powerState: 'running',
  hostExternalId: String(index % hostCount),
  cpuCount: 4,
  memoryMiB: 8192,
  listMark: 'mark',
  detail: {
    description: '',
    cpuCount: 4,
    coresPerSocket: 2,
    memoryMiB: 8192,
    nics: [
      {
        mac: 'm',
        switchName: 'vswitch0',
        switchExternalId: '1',
        profileExternalId: '1',
        profileName: null,
        model: 'virtio',
      },
    ],
    disks: ['vda', 'vdb'].map((target) => ({
      target,
      path: `/vms/images/${index}-${target}`,
      format: 'qcow2' as const,
      fileType: 'file' as const,
      bus: 'virtio' as const,
      mode: 'dependent' as const,
      sizeBytes: 2 ** 40,
      storageName: null,
      encrypted: false,
      hasInternalSnapshot: false,
      restartNeeded: false,
      backingFile: null,
    })),
  },
});
const hosts = Array.from({ length: hostCount }, (_, index) => ({
  externalId: String(index),
  name: `cvk${index}`,
  ip: `10.0.0.${index}`,
  status: 'normal' as const,
  cpuCount: 64,
  memoryMiB: 524_288,
  vmCount: vmCount / hostCount,
  architecture: 'x86_64' as const,
  storages: [
    {
      name: 'images',
      title: 'images',
      type: 'fs',
      path: '/vms/images',
      capacityBytes: 2 ** 45,
      freeBytes: 2 ** 44,
      active: true,
    },
  ],
  switches: [],
}));
const readingOf = (vms: VmReading[]): PlatformReading => ({
  release: 'E0780',
  architecture: 'x86_64',
  hosts,
  vms,
  profiles: [{ externalId: '1', name: 'Default', description: '' }],
  templates: null,
});

describe('a platform of 10,000 VMs', () => {
  let postgres: PostgresServer;
  let database: DataSource;
  let readings: ReadingStore;
  let vms: VmStore;
  const all = Array.from({ length: vmCount }, (_, index) => vmOf(index));
  const unchanged = all.map((vm) => ({ ...vm, detail: null }));

  beforeAll(async () => {
    postgres = await startPostgres();
    const rolePrefix = `t${randomBytes(4).toString('hex')}`;
    const url = await provisionSchema(postgres.adminUrl, 'inventory', { rolePrefix });
    database = await openDatabase({
      url,
      schema: 'inventory',
      ...inventoryDatabase,
      logger: new TestLogger(),
    });
    readings = new ReadingStore(database);
    vms = new VmStore(database);
    await new PlatformStore(database).add({
      id: platformId,
      name: 'large',
      type: 'h3c-cas',
      address: 'cvm',
      ssl: false,
      sslIgnoreErrors: false,
      port: 8080,
      userName: 'admin',
      password: 'sealed:v1:x' as Sealed,
      diskService: { network: 'management', port: 8192, token: 'sealed:v1:x' as Sealed },
      version: 'E0780',
      architecture: 'x86_64',
      state: 'online',
      stateMessage: null,
      lastSyncAt: null,
      createdAt: at(0).toISOString(),
    });
  });
  afterAll(async () => {
    await database.destroy();
    await postgres[Symbol.asyncDispose]();
  });

  it('is stored, paged through without a gap, and searched', async () => {
    expect(await readings.apply(platformId, readingOf(all), at(10), at(11))).toBe(true);
    const names: string[] = [];
    const ids = new Set<VmId>();
    let cursor: string | undefined;
    do {
      const page = await vms.page({ platformId, limit: 500, cursor });
      for (const vm of page.items) {
        names.push(vm.name);
        ids.add(vm.id);
      }
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    expect(ids.size).toBe(vmCount);
    expect(names).toEqual([...names].sort());
    const found = await vms.page({ search: '09999', limit: 50 });
    expect(found.items).toEqual([
      expect.objectContaining({
        name: 'vm-09999',
        hostName: 'cvk49',
        nics: [expect.objectContaining({ profileName: 'Default' })],
      }),
    ]);
    expect(found.items[0]?.disks[0]).toMatchObject({ storageName: 'images', sizeBytes: 2 ** 40 });
    expect((await vms.page({ search: '10.0.0.49', limit: 500 })).items).toHaveLength(200);
  });

  it('keeps what an unchanged list did not read again, and drops what it no longer holds', async () => {
    const before = (await vms.page({ search: 'vm-00001', limit: 1 })).items[0];
    expect(await readings.apply(platformId, readingOf(unchanged.slice(1)), at(20), at(21))).toBe(true);
    expect((await vms.page({ search: 'vm-00001', limit: 1 })).items[0]).toEqual(before);
    expect((await vms.page({ search: 'vm-00000', limit: 1 })).items).toEqual([]);
    expect((await vms.knownDetails(platformId)).size).toBe(vmCount - 1);
    // Back again: with the id it had.
    await readings.apply(platformId, readingOf(all), at(30), at(31));
    expect((await vms.page({ search: 'vm-00001', limit: 1 })).items[0]?.id).toBe(before?.id);
    expect((await vms.page({ search: 'vm-00000', limit: 1 })).items).toHaveLength(1);
  });

  it('never lets an older reading cover a newer one', async () => {
    expect(await readings.apply(platformId, readingOf([]), at(25), at(40))).toBe(false);
    expect((await vms.knownDetails(platformId)).size).toBe(vmCount);
    // A restore has just finished: its VM is newer than the reading that began before it.
    const made = { ...vmOf(vmCount), uuid: randomUUID(), name: 'just-restored' };
    const id = await readings.applyVm(platformId, made, at(50));
    expect(await readings.apply(platformId, readingOf(unchanged), at(45), at(55))).toBe(true);
    expect((await vms.page({ search: 'just-restored', limit: 1 })).items[0]?.id).toBe(id);
    expect(await readings.apply(platformId, readingOf(unchanged), at(60), at(61))).toBe(true);
    expect((await vms.page({ search: 'just-restored', limit: 1 })).items).toEqual([]);
  });

  it('knows a VM on a host that is not listed only after a synchronisation', async () => {
    const made = { ...vmOf(vmCount + 1), uuid: randomUUID(), hostExternalId: 'new' };
    expect(await readings.applyVm(platformId, made, at(70))).toBeNull();
    const { items } = await new HostStore(database).page(listHosts.request.parse({ platformId }));
    expect(items).toHaveLength(hostCount);
  });
});
