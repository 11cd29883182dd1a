import { type RunItemId, type VmId } from '@casvault/contracts';
import { reading, type ProjectedStep, type Transaction } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { isTerminal } from './item.js';
import { isOriginalPath } from './restore.rules.js';
import { type RestoreState } from './restore.js';
import { mayHaveWritten, whileWritten, writtenUntil, type RollbackState } from './rollback.js';

/** R14: which VMs were written by us, and when. Their next backup is a new full: no bitmap and no chain goes on over it. */
export class VmMarkStore {
  constructor(private readonly database: DataSource) {}

  /**
   * Marks the VM in the transaction that asks for the transfer, so before its first write, and anew with each phase, so after its last: points made
   * in between count as from before it, and what is backed up meanwhile stands on none. Takes the mark back when nothing was written.
   */
  async project(tx: Transaction, { before, after, now }: ProjectedStep<RollbackState>): Promise<void> {
    const was = before !== null && mayHaveWritten(before);
    const is = mayHaveWritten(after);
    const { vmId, request } = after;
    const isNews = was !== is || (is && before?.phase !== after.phase);
    if (!isNews || vmId === null) return;
    if (is) await this.markRestored(tx, vmId, request.itemId, writtenUntil(after, now));
    else await tx.query('DELETE FROM vm_mark WHERE vm_id = $1 AND item_id = $2', [vmId, request.itemId]);
  }

  /** F3: as above of a restore over the original path, from before its disks take their place until that has ended either way. */
  async projectRestore(tx: Transaction, { before, after, now }: ProjectedStep<RestoreState>): Promise<void> {
    const { request, source, phase } = after;
    if (before?.phase === phase || source === null || !isOriginalPath(request)) return;
    const { vmId } = source.point;
    if (phase === 'finishing') await this.markRestored(tx, vmId, request.itemId, whileWritten);
    else if (isTerminal(phase))
      await tx.query('UPDATE vm_mark SET restored_at = $3 WHERE vm_id = $1 AND item_id = $2', [
        vmId,
        request.itemId,
        now,
      ]);
  }

  async markRestored(tx: Transaction, vmId: VmId, itemId: RunItemId, at: Date): Promise<void> {
    await tx.query(
      `INSERT INTO vm_mark (vm_id, item_id, restored_at) VALUES ($1, $2, $3)
       ON CONFLICT (vm_id, item_id) DO UPDATE SET restored_at = excluded.restored_at`,
      [vmId, itemId, at],
    );
  }

  /** Until when the VM was written by a restore, in the future while one writes; null: never. */
  async restoredAt(vmId: VmId): Promise<Date | null> {
    const rows = await reading(this.database, (source) =>
      source.query<{ at: Date | null }[]>('SELECT max(restored_at) AS at FROM vm_mark WHERE vm_id = $1', [
        vmId,
      ]),
    );
    return rows[0]?.at ?? null;
  }
}
