import { randomBytes } from 'node:crypto';
import { Fault } from '@casvault/contracts';
import { type Host } from '@casvault/service-host';
import { randomInt } from 'node:crypto';
import { type DynamicModule, type Provider } from '@nestjs/common';
import { type DataSource } from 'typeorm';
import { type SchedulerConfig } from './config.js';
import { AlertChannels } from './alert-channels.js';
import { AlertChannelStore } from './alert-channel-store.js';
import { AlertHandlers } from './alert.handlers.js';
import { AlertStore } from './alert-store.js';
import { AlertWatch } from './alert-watch.js';
import { BackupZones } from './backup-zones.js';
import { Confirmations } from './confirmations.js';
import { DefinitionCheck } from './definition-check.js';
import { Deliveries } from './deliveries.js';
import { observeDeliveries } from './delivery-metrics.js';
import { DeliveryStore } from './delivery-store.js';
import { History } from './history.js';
import { HistoryStore } from './history-store.js';
import { JobEdits } from './job-edits.js';
import { JobHandlers } from './job.handlers.js';
import { JobStore } from './job-store.js';
import { Jobs } from './jobs.js';
import { PostgresPlanStore } from './plan-store.js';
import { PlanUpkeep } from './plan-upkeep.js';
import { Planner } from './planner.js';
import { observeProtection } from './protection-metrics.js';
import { ProtectionStore } from './protection-store.js';
import { RestorePreviews } from './restore-previews.js';
import { StageCheck } from './stage-check.js';
import { RunBroadcast } from './run-broadcast.js';
import { RunHandlers } from './run.handlers.js';
import { RunHookStore } from './run-hook-store.js';
import { RunItemStore } from './run-item-store.js';
import { RunLogHandlers } from './run-log.handlers.js';
import { RunLogStore } from './run-log-store.js';
import { observeRuns, schedulingDelays } from './run-metrics.js';
import { RunStore } from './run-store.js';
import { runMachines, Runs } from './runs.js';

class SchedulerModule {}

/** H3. */
const alertProviders = (host: Host<SchedulerConfig>, database: DataSource): Provider[] => {
  const { client, clock, logger, sealer } = host;
  const alerts = new AlertStore(database);
  const channelStore = new AlertChannelStore(database);
  const deliveryStore = new DeliveryStore(database);
  const deliveries = new Deliveries({
    deliveries: deliveryStore,
    open: (sealed) => sealer.open(sealed),
    clock,
    chance: () => randomInt(1_000) / 1_000,
    logger,
  });
  const watch = new AlertWatch({ client, alerts, clock, logger });
  observeDeliveries(deliveryStore, logger);
  watch.start();
  deliveries.start();
  host.onDrain('alerts', async () => {
    await watch.drain();
    await deliveries.drain();
  });
  return [
    { provide: AlertStore, useValue: alerts },
    { provide: AlertChannelStore, useValue: channelStore },
    { provide: AlertChannels, useValue: new AlertChannels({ database, channels: channelStore, clock }) },
    { provide: Deliveries, useValue: deliveries },
  ];
};

/** D9. */
const keepHistory = (host: Host<SchedulerConfig>, database: DataSource): void => {
  const { config, clock, logger } = host;
  const history = new History({
    history: new HistoryStore(database),
    days: config.CASVAULT_SCHEDULER_HISTORY_DAYS,
    runsOfJob: config.CASVAULT_SCHEDULER_HISTORY_RUNS,
    clock,
    logger,
  });
  history.start();
  host.onDrain('history', () => history.drain());
};

/** The only wiring of the service. */
export const schedulerModule = (host: Host<SchedulerConfig>): DynamicModule => {
  const { database, client, clock, logger, stopping, config } = host;
  if (!database) throw new Fault('BUG', 'scheduler runs with a database');
  const jobStore = new JobStore(database);
  const runStore = new RunStore(database, config.CASVAULT_SCHEDULER_GROUP_RUNS);
  const items = new RunItemStore(database);
  const hooks = new RunHookStore(database);
  const world = { client, runs: runStore, items, hooks, clock };
  const broadcast = new RunBroadcast({ client, runs: runStore, clock, logger, stopping });
  const machines = runMachines(database, runStore);
  const runs = new Runs({
    world,
    groupRuns: config.CASVAULT_SCHEDULER_GROUP_RUNS,
    broadcast,
    machines,
    clock,
    logger,
  });
  const check = new DefinitionCheck(client);
  const plans = new PostgresPlanStore(database, jobStore, runStore);
  const zones = new BackupZones(client, clock);
  const confirmations = new Confirmations({ database, clock, random: randomBytes });
  const saved = { database, jobs: jobStore, plans, zones, check, confirmations, clock };
  const jobs = new Jobs({ ...saved, runStore, runs });
  const edits = new JobEdits({ ...saved, runs: runStore });
  const planner = new Planner({
    store: plans,
    resolve: ({ job }, { run }) => check.itemsOfRun(job.definition, run?.choice ?? {}, stopping),
    begin: (runId) => runs.begin(runId),
    onBegun: schedulingDelays(),
    graceMs: config.CASVAULT_SCHEDULER_GRACE_MINUTES * 60_000,
    clock,
    logger,
  });
  const upkeep = new PlanUpkeep({ client, plans, runs: runStore, zones, clock, logger });
  observeRuns(runStore, logger);
  observeProtection(new ProtectionStore(database), logger);
  runs.start();
  planner.start();
  upkeep.start();
  host.onDrain('plans', async () => {
    await planner.drain();
    await upkeep.drain();
  });
  host.onDrain('runs', () => runs.drain());
  keepHistory(host, database);
  return {
    module: SchedulerModule,
    controllers: [JobHandlers, RunHandlers, RunLogHandlers, AlertHandlers],
    providers: [
      ...alertProviders(host, database),
      { provide: RunLogStore, useValue: new RunLogStore(database) },
      { provide: Jobs, useValue: jobs },
      { provide: JobEdits, useValue: edits },
      { provide: JobStore, useValue: jobStore },
      { provide: Confirmations, useValue: confirmations },
      {
        provide: RestorePreviews,
        useValue: new RestorePreviews({ client, zones, confirmations, clock }),
      },
      { provide: RunStore, useValue: runStore },
      { provide: StageCheck, useValue: new StageCheck(client, zones, clock) },
      { provide: Runs, useValue: runs },
    ],
  };
};
