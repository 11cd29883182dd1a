import { Fault } from '@casvault/contracts';
import { type Host } from '@casvault/service-host';
import { type DynamicModule } from '@nestjs/common';
import { type SnapshotEngineConfig } from './config.js';
import { clockToken, ContentHandlers } from './content.handlers.js';
import { Contents } from './contents.js';
import { Copies } from './copies.js';
import { CopyStore } from './copy-store.js';
import { DeletionStore } from './deletion-store.js';
import { DeletionHandlers } from './deletion.handlers.js';
import { Deletions } from './deletions.js';
import { Holds } from './holds.js';
import { ItemHandlers } from './item.handlers.js';
import { HistoryStore } from './history-store.js';
import { itemMachines, Items } from './items.js';
import { OwnershipHandlers } from './ownership.handlers.js';
import { OwnershipStore } from './ownership-store.js';
import { PointHandlers } from './point.handlers.js';
import { observePoints } from './point-metrics.js';
import { PointStore } from './point-store.js';
import { ReadingStore } from './reading-store.js';
import { RestorePreviews } from './restore-previews.js';
import { VerificationStore } from './verification-store.js';
import { VerificationHandlers } from './verification.handlers.js';
import { Verifications } from './verifications.js';
import { VmMarkStore } from './vm-mark-store.js';

class SnapshotEngineModule {}

/** The only wiring of the service. */
export const snapshotEngineModule = (host: Host<SnapshotEngineConfig>): DynamicModule => {
  const { database, client, clock, logger, sealer } = host;
  if (!database) throw new Fault('BUG', 'snapshot-engine runs with a database');
  const points = new PointStore(database);
  const deletionStore = new DeletionStore(database);
  const marks = new VmMarkStore(database);
  const verificationStore = new VerificationStore(database);
  const copyStore = new CopyStore(database);
  const machines = itemMachines(database, {
    points,
    marks,
    deletions: deletionStore,
    verifications: verificationStore,
    copies: copyStore,
  });
  const world = { client, points, history: new HistoryStore(database, marks) };
  const items = new Items({ world, machines, clock, logger });
  const deletions = new Deletions({ world: { client, deletions: deletionStore }, machines, clock, logger });
  const verifications = new Verifications({ world: { client, points }, machines, clock, logger });
  const copies = new Copies({ world: { client, copies: copyStore }, machines, clock, logger });
  const readings = new ReadingStore(database);
  const contents = new Contents({ client, points, readings, seal: (clear) => sealer.seal(clear), clock });
  observePoints(points, logger);
  items.start();
  deletions.start();
  verifications.start();
  copies.start();
  host.onDrain('items', () => items.drain());
  host.onDrain('deletions', () => deletions.drain());
  host.onDrain('verifications', () => verifications.drain());
  host.onDrain('copies', () => copies.drain());
  return {
    module: SnapshotEngineModule,
    controllers: [
      ItemHandlers,
      PointHandlers,
      DeletionHandlers,
      VerificationHandlers,
      ContentHandlers,
      OwnershipHandlers,
    ],
    providers: [
      { provide: Items, useValue: items },
      { provide: PointStore, useValue: points },
      { provide: RestorePreviews, useValue: new RestorePreviews(client, points) },
      { provide: Deletions, useValue: deletions },
      { provide: DeletionStore, useValue: deletionStore },
      { provide: Verifications, useValue: verifications },
      { provide: VerificationStore, useValue: verificationStore },
      { provide: Copies, useValue: copies },
      { provide: CopyStore, useValue: copyStore },
      { provide: Holds, useValue: new Holds(deletionStore, points, clock) },
      { provide: ReadingStore, useValue: readings },
      { provide: Contents, useValue: contents },
      { provide: clockToken, useValue: clock },
      { provide: OwnershipStore, useValue: new OwnershipStore(database) },
    ],
  };
};
