import { type Clock, Fault, type Logger } from '@casvault/contracts';
import { type Host } from '@casvault/service-host';
import { type DynamicModule } from '@nestjs/common';
import { type DataSource } from 'typeorm';
import { BackupHostHandlers, clockToken } from './backup-host.handlers.js';
import { BackupHostStore } from './backup-host-store.js';
import { CasAccess } from './cas-access.js';
import { Checkpoints } from './checkpoints.js';
import { type InventoryConfig } from './config.js';
import { Diagnosis } from './diagnosis.js';
import { DiskServices } from './disk-services.js';
import { EndedItems } from './ended-items.js';
import { HostStore } from './host-store.js';
import { InventoryMetrics, observeBackupHosts, observePools } from './inventory-metrics.js';
import { NetworkStore } from './network-store.js';
import { OriginalPlaces } from './original-path.js';
import { type Protection } from './overwriting.js';
import { ownersBy } from './owners-query.js';
import { PlatformHandlers } from './platform.handlers.js';
import { PlatformRegistry } from './platform-registry.js';
import { PlatformStore } from './platform-store.js';
import { PlatformSync } from './platform-sync.js';
import { PoolHandlers } from './pool.handlers.js';
import { PoolStore } from './pool-store.js';
import { Pools } from './pools.js';
import { ReadingStore } from './reading-store.js';
import { type Owners, Reconciliation } from './reconciliation.js';
import { RepositoryPlaces } from './repository-places.js';
import { RestoreVmHandlers } from './restore-vm.handlers.js';
import { RestoreVmStore } from './restore-vm-store.js';
import { RestoreVmJudge } from './restore-vm-judge.js';
import { RestoreVms } from './restore-vms.js';
import { RestoreVolumeHandlers } from './restore-volume.handlers.js';
import { RestoreVolumeStore } from './restore-volume-store.js';
import { RestoreVolumes } from './restore-volumes.js';
import { ShutdownStore } from './shutdown-store.js';
import { SyncSchedule } from './sync-schedule.js';
import { VmAccess } from './vm-access.js';
import { VmActionHandlers } from './vm-action.handlers.js';
import { VmFactsReader } from './vm-facts.js';
import { VmPower } from './vm-power.js';
import { VmSnapshotStore } from './vm-snapshot-store.js';
import { VmSnapshots } from './vm-snapshots.js';
import { VmStore } from './vm-store.js';

class InventoryModule {}

/** How often the schedule looks for a platform that is due. */
const schedulePollMs = 2_000;

/** What the parts are made of: the host's, or a test's. */
export interface InventoryParts {
  readonly database: DataSource;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly stopping: AbortSignal;
  readonly open: (sealed: string) => string;
  readonly owners: Owners & Protection['owners'];
  readonly syncSeconds: number;
  readonly detailSeconds: number;
  readonly casTimeoutSeconds: number;
}

/** The only wiring of the service. */
export const inventoryParts = (parts: InventoryParts) => {
  const { database, clock, logger, stopping, open, owners } = parts;
  const access = new CasAccess({ open, requestTimeoutMs: parts.casTimeoutSeconds * 1000 });
  const platforms = new PlatformStore(database);
  const hosts = new HostStore(database);
  const vms = new VmStore(database);
  const metrics = new InventoryMetrics(platforms, logger);
  const sync = new PlatformSync({
    platforms,
    vms,
    readings: new ReadingStore(database),
    access,
    clock,
    logger,
    stopping,
    detailMaxAgeMs: parts.detailSeconds * 1000,
    onDone: (outcome, durationMs) => metrics.synchronised(outcome, durationMs),
  });
  const restores = new RestoreVmStore(database);
  const vmAccess = new VmAccess(vms, platforms, access);
  const shutdowns = new ShutdownStore(database);
  const snapshots = new VmSnapshotStore(database);
  const networks = new NetworkStore(database);
  const diskServices = new DiskServices(open, networks, logger);
  const ended = new EndedItems({ platforms, hosts, diskServices, logger });
  const power = new VmPower({ shutdowns, vms: vmAccess, ended, clock, logger });
  const vmSnapshots = new VmSnapshots({ snapshots, vms: vmAccess, clock, logger });
  const known = { platforms, hosts, vms, diskServices, sync, access, owners, ended, clock, logger };
  const restoreVms = new RestoreVms({ ...known, restores });
  const volumes = new RestoreVolumeStore(database);
  const restoreVolumes = new RestoreVolumes({ ...known, volumes });
  const checkpoints = new Checkpoints({ vms, platforms, sync, diskServices });
  const reconciliation = new Reconciliation({
    ...known,
    shutdowns,
    snapshots,
    restores,
    volumes,
    power,
    vmSnapshots,
    restoreVms,
    restoreVolumes,
    checkpoints,
  });
  const schedule = new SyncSchedule({
    platforms,
    sync,
    after: async (id, signal) => metrics.reconciled(await reconciliation.run(id, signal)),
    clock,
    logger,
    intervalMs: parts.syncSeconds * 1000,
    pollMs: schedulePollMs,
  });
  const backupHosts = new BackupHostStore(database);
  const pools = new Pools(new PoolStore(database), new RepositoryPlaces(open), clock, logger);
  observeBackupHosts(backupHosts, () => clock.now(), logger);
  observePools(pools, stopping, logger);
  const providers = [
    { provide: clockToken, useValue: clock },
    { provide: PlatformStore, useValue: platforms },
    { provide: PlatformRegistry, useValue: new PlatformRegistry(platforms, access, clock) },
    { provide: PlatformSync, useValue: sync },
    { provide: HostStore, useValue: hosts },
    { provide: VmStore, useValue: vms },
    { provide: VmFactsReader, useValue: new VmFactsReader(vms, platforms, sync, diskServices) },
    { provide: NetworkStore, useValue: networks },
    { provide: BackupHostStore, useValue: backupHosts },
    { provide: RestoreVms, useValue: restoreVms },
    { provide: RestoreVmJudge, useValue: new RestoreVmJudge(known) },
    { provide: OriginalPlaces, useValue: new OriginalPlaces(vms, hosts) },
    { provide: RestoreVolumes, useValue: restoreVolumes },
    { provide: VmPower, useValue: power },
    { provide: VmSnapshots, useValue: vmSnapshots },
    { provide: Checkpoints, useValue: checkpoints },
    { provide: Reconciliation, useValue: reconciliation },
    { provide: Diagnosis, useValue: new Diagnosis(platforms, hosts) },
    { provide: Pools, useValue: pools },
  ];
  return { providers, schedule };
};

export const handlers = [
  PlatformHandlers,
  VmActionHandlers,
  RestoreVmHandlers,
  RestoreVolumeHandlers,
  BackupHostHandlers,
  PoolHandlers,
];

export const inventoryModule = (host: Host<InventoryConfig>): DynamicModule => {
  const { database, client, clock, logger, stopping, sealer, config } = host;
  if (database === null) throw new Fault('BUG', 'inventory runs with a database');
  const { providers, schedule } = inventoryParts({
    database,
    clock,
    logger,
    stopping,
    open: (sealed) => sealer.open(sealed),
    owners: ownersBy(client),
    syncSeconds: config.CASVAULT_SYNC_SECONDS,
    detailSeconds: config.CASVAULT_SYNC_DETAIL_SECONDS,
    casTimeoutSeconds: config.CASVAULT_CAS_TIMEOUT_SECONDS,
  });
  schedule.start();
  host.onDrain('synchronisation', () => schedule.stop());
  return { module: InventoryModule, controllers: handlers, providers };
};
