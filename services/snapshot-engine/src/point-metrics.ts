import { type Logger } from '@casvault/contracts';
import { metrics } from '@opentelemetry/api';
import { type PointStore } from './point-store.js';

const day = 86_400;
/** Ages of verifications by which available points are counted, in seconds: 1, 7, 30 and 90 days. */
const verifiedBounds = [day, 7 * day, 30 * day, 90 * day];

/**
 * `casvault_points{state}`; of available points `casvault_points_by_verification{found}` (`sound`, `damaged`, `never`) and
 * `casvault_points_verified_by_age{up_to_seconds}`, each of which holds those before it.
 */
export const observePoints = (points: PointStore, logger: Logger): void => {
  const meter = metrics.getMeter('casvault.snapshot-engine');
  const byState = meter.createObservableGauge('casvault_points', {
    description: 'Points in the catalogue, by state',
  });
  const byFinding = meter.createObservableGauge('casvault_points_by_verification', {
    description: 'Available points, by what their newest verification found',
  });
  const byAge = meter.createObservableGauge('casvault_points_verified_by_age', {
    description: 'Available points whose newest verification was at most so many seconds ago',
  });
  meter.addBatchObservableCallback(
    async (result) => {
      try {
        for (const { state, count } of await points.countByState()) result.observe(byState, count, { state });
        const { ages, ...findings } = await points.countVerified(verifiedBounds);
        for (const [found, count] of Object.entries(findings)) result.observe(byFinding, count, { found });
        for (const [index, upTo] of verifiedBounds.entries())
          result.observe(byAge, ages[index] ?? 0, { up_to_seconds: String(upTo) });
      } catch (error) {
        logger.warn({ err: error }, 'points are not counted');
      }
    },
    [byState, byFinding, byAge],
  );
};
