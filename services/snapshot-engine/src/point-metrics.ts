import { type Logger } from '@casvault/contracts';
import { observeGauges } from '@casvault/service-host';
import { type PointStore } from './point-store.js';

const day = 86_400;
/** Ages of verifications by which available points are counted, in seconds: 1, 7, 30 and 90 days. */
const verifiedBounds = [day, 7 * day, 30 * day, 90 * day];

/**
 * `casvault_points{state}`; of available points `casvault_points_by_verification{found}` (`sound`, `damaged`, `never`) and
 * `casvault_points_verified_by_age{up_to_seconds}`, each of which holds those before it.
 */
export const observePoints = (points: PointStore, logger: Logger): void => {
  const gauges = {
    casvault_points: 'Points in the catalogue, by state',
    casvault_points_by_verification: 'Available points, by what their newest verification found',
    casvault_points_verified_by_age:
      'Available points whose newest verification was at most so many seconds ago',
  };
  const options = { meter: 'casvault.snapshot-engine', unread: 'points are not counted', logger };
  observeGauges(gauges, options, async (observe) => {
    for (const { state, count } of await points.countByState()) observe('casvault_points', count, { state });
    const { ages, ...findings } = await points.countVerified(verifiedBounds);
    for (const [found, count] of Object.entries(findings))
      observe('casvault_points_by_verification', count, { found });
    for (const [index, upTo] of verifiedBounds.entries())
      observe('casvault_points_verified_by_age', ages[index] ?? 0, { up_to_seconds: String(upTo) });
  });
};
