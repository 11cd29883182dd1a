import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { type Host } from '@casvault/service-host';
import { type DataSource } from 'typeorm';
import { madeWorkerId, type ControllerConfig } from '../config.js';
import { RetirementStore } from './retirement-store.js';
import { ScalerRunner } from './scaler-runner.js';

/**
 * Scales the configured groups until the process ends; without any, nothing of Kubernetes is loaded: its client takes
 * 84 MiB.
 */
export const startScaler = async (host: Host<ControllerConfig>, database: DataSource): Promise<void> => {
  const { config, clock, logger, stopping: signal } = host;
  const groups = config.CASVAULT_DATA_MOVER_SCALER;
  if (groups.length === 0) return;
  const { Kubernetes } = await import('./kubernetes.js');
  const runner = new ScalerRunner({
    groups,
    lease: config.CASVAULT_DATA_MOVER_SCALER_LEASE,
    holder: `${hostname()}/${randomUUID()}`,
    cluster: Kubernetes.inCluster({ now: () => clock.now(), signal }),
    retirements: new RetirementStore(database),
    workerIdOf: madeWorkerId,
    clock,
    monotonic: () => performance.now(),
    logger,
  });
  const running = runner.run(signal);
  host.onDrain('scaler', () => running);
};
