import { type Logger } from '@casvault/contracts';
import { metrics } from '@opentelemetry/api';
import { type DeliveryStore } from './delivery-store.js';

/** `casvault_alert_deliveries{state}`. */
export const observeDeliveries = (deliveries: DeliveryStore, logger: Logger): void => {
  const gauge = metrics
    .getMeter('casvault.scheduler')
    .createObservableGauge('casvault_alert_deliveries', { description: 'Deliveries of alerts, by state' });
  gauge.addCallback(async (result) => {
    try {
      for (const { state, count } of await deliveries.countByState()) result.observe(count, { state });
    } catch (error) {
      logger.warn({ err: error }, 'deliveries are not counted');
    }
  });
};
