import { type ReconciliationOptions } from '@casvault/inventory/machine';
import { type Edge, type SimProcess } from './process.js';

type RowOf<T extends (...args: never[]) => Promise<unknown[]>> = Awaited<ReturnType<T>>[number];
type Shutdown = RowOf<ReconciliationOptions['shutdowns']['open']>;
type VmSnapshot = RowOf<ReconciliationOptions['snapshots']['suspects']>;
type RestoreVm = RowOf<ReconciliationOptions['restores']['suspects']>;

const edge: Edge = { name: 'rows', fault: 'store', code: 'DEPENDENCY_UNAVAILABLE' };

/** One table of intents, as the stores of inventory keep it. */
class Intents<Row> {
  readonly rows = new Map<string, Row>();

  constructor(
    private readonly keyOf: (row: Row) => string,
    private readonly isSuspect: (row: Row, since: Date) => boolean,
  ) {}

  of(process: SimProcess) {
    const reach = <T>(deed: () => T): Promise<T> => process.call(edge, deed);
    return {
      find: (id: string) => reach(() => this.rows.get(id) ?? null),
      save: (row: Row) => reach(() => void this.rows.set(this.keyOf(row), row)),
      open: () => reach(() => [...this.rows.values()].filter((row) => this.isSuspect(row, new Date(0)))),
      suspects: (_platform: unknown, since: Date) =>
        reach(() => [...this.rows.values()].filter((row) => this.isSuspect(row, since))),
    };
  }
}

/** What inventory stores before it asks anything of a platform, by item: an item is of one VM here. */
export class InventoryRows {
  readonly shutdowns: Intents<Shutdown> = new Intents<Shutdown>(
    ({ itemId }) => itemId,
    ({ state }) => state !== 'ended',
  );
  readonly snapshots: Intents<VmSnapshot> = new Intents<VmSnapshot>(
    ({ itemId }) => itemId,
    ({ state, askedAt }, since) => state !== 'removed' || askedAt > since,
  );
  readonly restores: Intents<RestoreVm> = new Intents<RestoreVm>(
    ({ restoreId }) => restoreId,
    ({ state, createdAt }, since) => state === 'making' || (state === 'removed' && createdAt > since),
  );
  /** When the platform is synchronised, and reconciled after it, by the simulation's time. */
  nextSyncAt = 0;

  /** Whether an item shut the VM down and has not given it back. */
  isShutDown(vmId: string): boolean {
    return [...this.shutdowns.rows.values()].some(
      (one) => one.vmId === vmId && one.wasRunning && one.state !== 'ended',
    );
  }
}
