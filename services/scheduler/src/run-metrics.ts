import { type Logger } from '@casvault/contracts';
import { observeGauges } from '@casvault/service-host';
import { metrics } from '@opentelemetry/api';
import { type RunStore } from './run-store.js';

/** `casvault_runs{state}`, `casvault_jobs{last_run}`: `never` of jobs that have not run. */
export const observeRuns = (runs: RunStore, logger: Logger): void => {
  const gauges = {
    casvault_runs: 'Runs, by state',
    casvault_jobs: 'Jobs, by the state of their last run',
  };
  const options = { meter: 'casvault.scheduler', unread: 'runs are not counted', logger };
  observeGauges(gauges, options, async (observe) => {
    for (const { state, count } of await runs.countByState()) observe('casvault_runs', count, { state });
    for (const { lastRun, count } of await runs.countJobs())
      observe('casvault_jobs', count, { last_run: lastRun });
  });
};

/** `casvault_scheduling_delay_seconds`: of a run of a plan, from when it was due until it was begun. */
export const schedulingDelays = (): ((delayMs: number) => void) => {
  const delays = metrics.getMeter('casvault.scheduler').createHistogram('casvault_scheduling_delay_seconds', {
    description: 'Of runs of plans, from when they were due until they were begun',
    advice: { explicitBucketBoundaries: [0.25, 0.5, 1, 2, 5, 15, 60, 300, 3_600] },
  });
  return (delayMs) => delays.record(Math.max(0, delayMs) / 1_000);
};
