import { type Logger } from '@casvault/contracts';
import { metrics } from '@opentelemetry/api';
import { type PointStore } from './point-store.js';

/** `casvault_points{state}`. */
export const observePoints = (points: PointStore, logger: Logger): void => {
  const gauge = metrics
    .getMeter('casvault.snapshot-engine')
    .createObservableGauge('casvault_points', { description: 'Points in the catalogue, by state' });
  gauge.addCallback(async (result) => {
    try {
      for (const { state, count } of await points.countByState()) result.observe(count, { state });
    } catch (error) {
      logger.warn({ err: error }, 'points are not counted');
    }
  });
};
