import { isHeir, type ReconciliationOptions, type VmPowerOptions } from '@casvault/inventory/machine';
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

  /** As inventory's own table does it. */
  shutdownsOf(process: SimProcess): VmPowerOptions['shutdowns'] & ReconciliationOptions['shutdowns'] {
    const { rows } = this.shutdowns;
    const handOver = ({ itemId, vmId }: Pick<Shutdown, 'itemId' | 'vmId'>): Promise<boolean> =>
      process.call(edge, () => {
        const own = rows.get(itemId);
        const heirs = [...rows.values()].filter(
          (one) => one.vmId === vmId && one.itemId !== itemId && isHeir(one),
        );
        for (const one of heirs) rows.set(one.itemId, { ...one, wasRunning: true });
        const isLeft = heirs.length > 0;
        if (own && own.state !== 'ended') rows.set(itemId, { ...own, state: isLeft ? 'ended' : 'starting' });
        return isLeft;
      });
    const leaveOff = ({ itemId, vmId }: Pick<Shutdown, 'itemId' | 'vmId'>): Promise<void> =>
      process.call(edge, () => {
        for (const one of rows.values()) {
          const state = one.itemId === itemId ? 'ended' : one.state;
          if (one.vmId === vmId) rows.set(one.itemId, { ...one, state, wasRunning: false });
        }
      });
    const { find, open } = this.shutdowns.of(process);
    const save = (row: Shutdown): Promise<void> =>
      process.call(edge, () => {
        const known = rows.get(row.itemId);
        if (known?.state !== 'ended') rows.set(row.itemId, { ...row, wasRunning: (known ?? row).wasRunning });
      });
    const end = ({ itemId, wasRunning }: Shutdown): Promise<boolean> =>
      process.call(edge, () => {
        const known = rows.get(itemId);
        if (!known || known.state === 'ended' || known.wasRunning !== wasRunning) return false;
        rows.set(itemId, { ...known, state: 'ended' });
        return true;
      });
    return { find, open, save, end, handOver, leaveOff };
  }

  isRemoved(snapshot: string): boolean {
    return this.snapshots.rows.get(snapshot.replace(/^casvault-/, ''))?.state === 'removed';
  }

  /** Whether an item shut the VM down and has not given it back. */
  isShutDown(vmId: string): boolean {
    return [...this.shutdowns.rows.values()].some(
      (one) => one.vmId === vmId && one.wasRunning && one.state !== 'ended',
    );
  }
}
