import { type Logger } from '@casvault/contracts';
import { observeGauges } from '@casvault/service-host';
import { type DeliveryStore } from './delivery-store.js';

/** `casvault_alert_deliveries{state}`. */
export const observeDeliveries = (deliveries: DeliveryStore, logger: Logger): void => {
  const gauges = { casvault_alert_deliveries: 'Deliveries of alerts, by state' };
  const options = { meter: 'casvault.scheduler', unread: 'deliveries are not counted', logger };
  observeGauges(gauges, options, async (observe) => {
    for (const { state, count } of await deliveries.countByState())
      observe('casvault_alert_deliveries', count, { state });
  });
};
