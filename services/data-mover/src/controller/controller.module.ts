import { Fault } from '@casvault/contracts';
import { MessagingClient, WorkQueue } from '@casvault/messaging';
import { type Host } from '@casvault/service-host';
import { type DynamicModule } from '@nestjs/common';
import { type ControllerConfig } from '../config.js';
import { startScaler } from '../scaler/start-scaler.js';
import { TransferMetrics } from './transfer-metrics.js';
import { TransferStore } from './transfer-store.js';
import { TransferHandlers, WorkerHandlers } from './transfer.handlers.js';
import { transferMachines, Transfers } from './transfers.js';

class ControllerModule {}

/** The only wiring of the controller role. */
export const controllerModule = async (host: Host<ControllerConfig>): Promise<DynamicModule> => {
  const { database, client, clock, logger } = host;
  if (!database) throw new Fault('BUG', 'the controller runs with a database');
  const store = new TransferStore(database);
  const queue = new WorkQueue(client);
  const machines = transferMachines(database, store);
  const transfers = new Transfers({ client, queue, machines, store, clock, logger });
  transfers.start();
  host.onDrain('transfers', () => transfers.drain());
  await startScaler(host, database);
  return {
    module: ControllerModule,
    controllers: [TransferHandlers, WorkerHandlers],
    providers: [
      { provide: Transfers, useValue: transfers },
      { provide: TransferStore, useValue: store },
      { provide: TransferMetrics, useValue: new TransferMetrics(store, clock, logger) },
      { provide: MessagingClient, useValue: client },
    ],
  };
};
