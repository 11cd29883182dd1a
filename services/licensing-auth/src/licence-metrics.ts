import { type Logger } from '@casvault/contracts';
import { metrics } from '@opentelemetry/api';
import { type Licences } from './licences.js';

/**
 * `casvault_licences{state}`, and `casvault_licence_days_left{feature}` of features that a licence names. As many series as there are states
 * and features, however many licences.
 */
export const observeLicences = (licences: Pick<Licences, 'survey'>, logger: Logger): void => {
  const meter = metrics.getMeter('casvault.licensing-auth');
  const byState = meter.createObservableGauge('casvault_licences', { description: 'Licences, by state' });
  const daysLeft = meter.createObservableGauge('casvault_licence_days_left', {
    description: 'Days until the last licence with a feature ends, 0 when none is in force',
  });
  meter.addBatchObservableCallback(
    async (result) => {
      try {
        const survey = await licences.survey();
        for (const [state, count] of Object.entries(survey.counts)) result.observe(byState, count, { state });
        for (const [feature, days] of survey.daysLeft) result.observe(daysLeft, days, { feature });
      } catch (error) {
        logger.warn({ err: error }, 'licences are not counted');
      }
    },
    [byState, daysLeft],
  );
};
