import { type Finding, type Logger } from '@casvault/contracts';
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
    const states = meter.createObservableGauge('casvault_platforms', { description: 'Registered platforms' });
    const vms = meter.createObservableGauge('casvault_vms', {
      description: 'VMs of the registered platforms',
    });
    meter.addBatchObservableCallback(
      async (result) => {
        try {
          const counts = await platforms.countByState();
          result.observe(states, counts.online, { state: 'online' });
          result.observe(states, counts.offline, { state: 'offline' });
          result.observe(vms, counts.vms);
        } catch (error) {
          logger.warn({ err: error }, 'platforms are not counted');
        }
      },
      [states, vms],
    );
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
  const gauge = metrics.getMeter('casvault.inventory').createObservableGauge('casvault_backup_hosts', {
    description: 'Backup hosts that were ever seen, by group and state',
  });
  gauge.addCallback(async (result) => {
    try {
      for (const { group, online, offline } of await hosts.countByState(now())) {
        result.observe(online, { group, state: 'online' });
        result.observe(offline, { group, state: 'offline' });
      }
    } catch (error) {
      logger.warn({ err: error }, 'backup hosts are not counted');
    }
  });
};

/** `casvault_pool_capacity_bytes{pool_id,pool}`, `casvault_pool_free_bytes{pool_id,pool}` where the medium tells its room. */
export const observePools = (pools: Pools, stopping: AbortSignal, logger: Logger): void => {
  const meter = metrics.getMeter('casvault.inventory');
  const capacity = meter.createObservableGauge('casvault_pool_capacity_bytes', {
    description: 'Size of the medium of a storage pool',
  });
  const free = meter.createObservableGauge('casvault_pool_free_bytes', {
    description: 'Free room on the medium of a storage pool',
  });
  meter.addBatchObservableCallback(
    async (result) => {
      try {
        const { items } = await pools.page({ limit: poolsShown }, stopping);
        for (const { id, name, capacityBytes, freeBytes } of items) {
          const labels = { pool_id: id, pool: name };
          if (capacityBytes !== null) result.observe(capacity, capacityBytes, labels);
          if (freeBytes !== null) result.observe(free, freeBytes, labels);
        }
      } catch (error) {
        logger.warn({ err: error }, 'pools are not measured');
      }
    },
    [capacity, free],
  );
};
