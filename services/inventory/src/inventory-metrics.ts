import { type Finding, type Logger } from '@casvault/contracts';
import { observeGauges } from '@casvault/service-host';
import { type Counter, type Histogram, metrics } from '@opentelemetry/api';
import { type BackupHostStore } from './backup-host-store.js';
import { type PlatformStore } from './platform-store.js';
import { type Pools } from './pools.js';

/** Pools beyond these have no series of their own; nobody has made so many. */
const poolsShown = 200;

/** `casvault_platforms{state}`, `casvault_vms`, `casvault_platform_sync_seconds{outcome}`, `casvault_reconciliation_findings_total{kind,outcome}`. */
export class InventoryMetrics {
  private readonly durations: Histogram;
  private readonly findings: Counter;

  constructor(platforms: PlatformStore, logger: Logger) {
    const meter = metrics.getMeter('casvault.inventory');
    this.durations = meter.createHistogram('casvault_platform_sync_seconds', {
      description: 'Time for one synchronisation of a platform',
      advice: { explicitBucketBoundaries: [0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600] },
    });
    this.findings = meter.createCounter('casvault_reconciliation_findings_total', {
      description: 'What passes over platforms found left there, by kind and what became of it',
    });
    const gauges = {
      casvault_platforms: 'Registered platforms',
      casvault_vms: 'VMs of the registered platforms',
    };
    const options = { meter: 'casvault.inventory', unread: 'platforms are not counted', logger };
    observeGauges(gauges, options, async (observe) => {
      const { online, offline, vms } = await platforms.countByState();
      observe('casvault_platforms', online, { state: 'online' });
      observe('casvault_platforms', offline, { state: 'offline' });
      observe('casvault_vms', vms);
    });
  }

  synchronised(outcome: 'succeeded' | 'failed', durationMs: number): void {
    this.durations.record(durationMs / 1000, { outcome });
  }

  /** A pass over a platform: what stays there is found again by the next one. */
  reconciled(findings: readonly Finding[]): void {
    for (const { kind, outcome } of findings) this.findings.add(1, { kind, outcome });
  }
}

/** `casvault_backup_hosts{group,state}`. */
export const observeBackupHosts = (hosts: BackupHostStore, now: () => Date, logger: Logger): void => {
  const gauges = { casvault_backup_hosts: 'Backup hosts that were ever seen, by group and state' };
  const options = { meter: 'casvault.inventory', unread: 'backup hosts are not counted', logger };
  observeGauges(gauges, options, async (observe) => {
    for (const { group, online, offline } of await hosts.countByState(now())) {
      observe('casvault_backup_hosts', online, { group, state: 'online' });
      observe('casvault_backup_hosts', offline, { group, state: 'offline' });
    }
  });
};

/** `casvault_pool_capacity_bytes{pool_id,pool}`, `casvault_pool_free_bytes{pool_id,pool}` where the medium tells its room. */
export const observePools = (pools: Pools, stopping: AbortSignal, logger: Logger): void => {
  const gauges = {
    casvault_pool_capacity_bytes: 'Size of the medium of a storage pool',
    casvault_pool_free_bytes: 'Free room on the medium of a storage pool',
  };
  const options = { meter: 'casvault.inventory', unread: 'pools are not measured', logger };
  observeGauges(gauges, options, async (observe) => {
    const { items } = await pools.page({ limit: poolsShown }, stopping);
    for (const { id, name, capacityBytes, freeBytes } of items) {
      const labels = { pool_id: id, pool: name };
      if (capacityBytes !== null) observe('casvault_pool_capacity_bytes', capacityBytes, labels);
      if (freeBytes !== null) observe('casvault_pool_free_bytes', freeBytes, labels);
    }
  });
};
