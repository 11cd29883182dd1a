import { isIPv6 } from 'node:net';
import { availableParallelism } from 'node:os';
import { RestingThreads } from '@casvault/data-path';
import { type Host } from '@casvault/service-host';
import { type DynamicModule } from '@nestjs/common';
import { addressOf, diskTlsOf, workerIdOf, type WorkerConfig } from '../config.js';
import { contentPath, ContentServer } from '../content/content-server.js';
import { Heartbeat } from './heartbeat.js';
import { Paces } from './paces.js';
import { TransferLogs } from './transfer-logs.js';
import { TransferWorker } from './transfer-worker.js';
import { WorkerMetrics } from './worker-metrics.js';

class WorkerModule {}

/** Transfers are handed back within ten seconds, however long the process may take to end. */
const longestDrainMs = 9_000;

const contentUrlOf = (address: string, port: number): string =>
  `http://${isIPv6(address) ? `[${address}]` : address}:${port}${contentPath}`;

const logsOf = ({ config, clock, logger }: Host<WorkerConfig>): TransferLogs | null => {
  const {
    CASVAULT_DATA_MOVER_TRANSFER_LOGS: dir,
    CASVAULT_DATA_MOVER_TRANSFER_LOGS_KEEP: keep,
    CASVAULT_DATA_MOVER_TRANSFER_LOGS_DAYS: keepDays,
  } = config;
  return dir === undefined ? null : new TransferLogs({ dir, keep, keepDays }, { clock, logger });
};

/** The only wiring of the worker role. It answers no messages: it takes nudges and asks the controller. */
export const workerModule = async (host: Host<WorkerConfig>): Promise<DynamicModule> => {
  const { client, clock, logger, config, stopping, sealer, version } = host;
  const id = workerIdOf(config);
  const group = config.CASVAULT_DATA_MOVER_GROUP;
  const unseal = (sealed: string) => sealer.open(sealed);
  const downloads = config.CASVAULT_DATA_MOVER_CONTENT_DOWNLOADS;
  const contents = new ContentServer({ unseal, client, clock, logger, downloads });
  const address = addressOf(config);
  const contentPort = await contents.listen(config.CASVAULT_DATA_MOVER_CONTENT_PORT);
  const report = {
    id,
    name: config.CASVAULT_DATA_MOVER_NAME,
    group,
    address,
    timeZone: config.CASVAULT_DATA_MOVER_TIME_ZONE,
    version,
    contentUrl: contentUrlOf(address, contentPort),
  };
  const monotonic = () => performance.now();
  const resting = new RestingThreads({ max: availableParallelism() });
  const worker = new TransferWorker({
    workerId: id,
    group,
    transfers: config.CASVAULT_DATA_MOVER_TRANSFERS,
    tools: {
      client,
      unseal,
      clock,
      monotonic,
      logger,
      diskTls: diskTlsOf(config),
      resting,
      paces: new Paces({ clock, monotonic, timeZone: config.CASVAULT_DATA_MOVER_TIME_ZONE, logger }),
      logs: logsOf(host),
      hookHost: {
        scripts: config.CASVAULT_DATA_MOVER_SCRIPTS ?? null,
        name: config.CASVAULT_DATA_MOVER_NAME,
      },
      version,
    },
    metrics: new WorkerMetrics(),
    stopping,
    drainMs: Math.min(longestDrainMs, config.CASVAULT_DRAIN_SECONDS * 700),
  });
  worker.start();
  const beating = new Heartbeat(report, { client, clock, logger }).beat(stopping);
  host.onDrain('heartbeat', () => beating);
  host.onDrain('downloads', () => contents.close());
  host.onDrain('transfers', async () => {
    await worker.drain();
    await resting.close();
  });
  return { module: WorkerModule };
};
