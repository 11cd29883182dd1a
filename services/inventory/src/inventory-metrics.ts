import { type Logger } from '@casvault/contracts';
import { type Histogram, metrics } from '@opentelemetry/api';
import { type PlatformStore } from './platform-store.js';

/** `casvault_platforms{state}`, `casvault_vms`, `casvault_platform_sync_seconds{outcome}`. */
export class InventoryMetrics {
  private readonly durations: Histogram;

  constructor(platforms: PlatformStore, logger: Logger) {
    const meter = metrics.getMeter('casvault.inventory');
    this.durations = meter.createHistogram('casvault_platform_sync_seconds', {
      description: 'Time for one synchronisation of a platform',
      advice: { explicitBucketBoundaries: [0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600] },
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
}
