import { Fault } from '@casvault/contracts';
import { type Host } from '@casvault/service-host';
import { type DynamicModule } from '@nestjs/common';
import { type SnapshotEngineConfig } from './config.js';
import { ItemHandlers } from './item.handlers.js';
import { itemMachines, Items } from './items.js';
import { PointHandlers } from './point.handlers.js';
import { observePoints } from './point-metrics.js';
import { PointStore } from './point-store.js';
import { VmMarkStore } from './vm-mark-store.js';

class SnapshotEngineModule {}

/** The only wiring of the service. */
export const snapshotEngineModule = (host: Host<SnapshotEngineConfig>): DynamicModule => {
  const { database, client, clock, logger } = host;
  if (!database) throw new Fault('BUG', 'snapshot-engine runs with a database');
  const points = new PointStore(database);
  const machines = itemMachines(database, points, new VmMarkStore(database));
  const items = new Items({ world: { client, points }, machines, clock, logger });
  observePoints(points, logger);
  items.start();
  host.onDrain('items', () => items.drain());
  return {
    module: SnapshotEngineModule,
    controllers: [ItemHandlers, PointHandlers],
    providers: [
      { provide: Items, useValue: items },
      { provide: PointStore, useValue: points },
    ],
  };
};
