import { type Logger } from '@casvault/contracts';
import { metrics } from '@opentelemetry/api';
import { type RunStore } from './run-store.js';

/** `casvault_runs{state}`. */
export const observeRuns = (runs: RunStore, logger: Logger): void => {
  const gauge = metrics
    .getMeter('casvault.scheduler')
    .createObservableGauge('casvault_runs', { description: 'Runs, by state' });
  gauge.addCallback(async (result) => {
    try {
      for (const { state, count } of await runs.countByState()) result.observe(count, { state });
    } catch (error) {
      logger.warn({ err: error }, 'runs are not counted');
    }
  });
};
