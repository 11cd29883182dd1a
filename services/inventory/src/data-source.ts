import { backupHostTable } from './backup-host.table.js';
import { hostTable } from './host.table.js';
import { migrations } from './migrations.js';
import { platformTable } from './platform.table.js';
import { poolTable } from './pool.table.js';
import { restoreVmTable } from './restore-vm.table.js';
import { restoreVolumeTable } from './restore-volume.table.js';
import { shutdownTable } from './shutdown.table.js';
import { vmSnapshotTable } from './vm-snapshot.table.js';

export const inventoryDatabase = {
  tables: [
    platformTable,
    hostTable,
    restoreVmTable,
    restoreVolumeTable,
    backupHostTable,
    poolTable,
    shutdownTable,
    vmSnapshotTable,
  ],
  migrations,
};
