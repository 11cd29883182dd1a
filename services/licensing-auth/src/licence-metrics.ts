import { type Logger } from '@casvault/contracts';
import { observeGauges } from '@casvault/service-host';
import { type Licences } from './licences.js';

/**
 * `casvault_licences{state}`, and `casvault_licence_days_left{feature}` of features that a licence names. As many series as there are states
 * and features, however many licences.
 */
export const observeLicences = (licences: Pick<Licences, 'survey'>, logger: Logger): void => {
  const gauges = {
    casvault_licences: 'Licences, by state',
    casvault_licence_days_left: 'Days until the last licence with a feature ends, 0 when none is in force',
  };
  const options = { meter: 'casvault.licensing-auth', unread: 'licences are not counted', logger };
  observeGauges(gauges, options, async (observe) => {
    const survey = await licences.survey();
    for (const [state, count] of Object.entries(survey.counts))
      observe('casvault_licences', count, { state });
    for (const [feature, days] of survey.daysLeft) observe('casvault_licence_days_left', days, { feature });
  });
};
