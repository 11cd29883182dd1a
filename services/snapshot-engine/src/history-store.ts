import {
  checkpointName,
  Fault,
  type ChainId,
  type Point,
  type PointId,
  type VerificationMark,
} from '@casvault/contracts';
import { reading } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { mayBeDamaged } from './damage.rules.js';
import { type History } from './protection.machine.js';
import { type ProtectVm } from './protection.js';
import { type Parent } from './tracking.rules.js';
import { type VmMarkStore } from './vm-mark-store.js';

/** Checkpoints that may still stand: each commit takes the ones before away, so more than a few are none. */
const checkpointsSuperseded = 16;

type Asked = Pick<ProtectVm, 'vmId' | 'poolId' | 'diskIds' | 'pointKind' | 'chainId'>;

interface ParentRow {
  readonly id: PointId;
  readonly chainId: ChainId;
  readonly disks: Point['disks'];
  readonly createdAt: Date;
  readonly pointCount: number;
  readonly verification: Point['verification'];
  /** Of the available points of the chain that were found damaged. */
  readonly damaged: readonly VerificationMark[];
}

/** The chains of the same VM, disks and pool (D1, D6), without those of copies (E7). */
const sameSeries = `c.copy_of IS NULL AND c.vm_id = $1 AND c.pool_id = $2 AND c.disk_ids IS NOT DISTINCT FROM $3::jsonb`;

const seriesOf = ({ vmId, poolId, diskIds }: Asked): unknown[] => [
  vmId,
  poolId,
  diskIds ? JSON.stringify(diskIds.toSorted()) : null,
];

const parentOf = ({ id: pointId, chainId, disks, pointCount }: ParentRow): Parent => ({
  pointId,
  chainId,
  pointCount,
  disks: disks.map(({ diskId, sizeBytes, suspect }) => ({ diskId, sizeBytes, suspect })),
});

/** What came before a protection: the point to stand on, and what it left on the platform. */
export class HistoryStore {
  constructor(
    private readonly database: DataSource,
    private readonly marks: VmMarkStore,
  ) {}

  /**
   * D6: the newest available point of the newest chain, or of the chain that is asked for; none after a restore (R14), and none
   * that may show what a verification found damaged (E8): a new full stores all of it anew.
   * Throws CONFLICT when the chain that is asked for can't be extended.
   */
  async of(asked: Asked): Promise<History> {
    const supersedes = await this.#supersedes(asked);
    if (asked.pointKind === 'full') return { parent: null, whyFull: null, supersedes };
    const row = await this.#parent(asked);
    if (!row) {
      if (asked.chainId === undefined) return { parent: null, whyFull: null, supersedes };
      throw new Fault(
        'CONFLICT',
        `chain ${asked.chainId} has no available point of this VM, disks and pool`,
        {
          details: { chainId: asked.chainId },
        },
      );
    }
    const restoredAt = await this.marks.restoredAt(asked.vmId);
    // Both by this service's clock; the captured instant is by the host's, which may be hours ahead.
    const isRestored = restoredAt !== null && restoredAt >= row.createdAt;
    if (isRestored) return { parent: null, whyFull: 'RESTORED_SINCE', supersedes };
    return mayBeDamaged(row.verification, row.damaged)
      ? { parent: null, whyFull: 'CHAIN_DAMAGED', supersedes }
      : { parent: parentOf(row), whyFull: null, supersedes };
  }

  async #parent(asked: Asked): Promise<ParentRow | undefined> {
    const [row] = await reading(this.database, (source) =>
      source.query<ParentRow[]>(
        `SELECT p.id, p.chain_id AS "chainId", p.disks, p.created_at AS "createdAt", p.verification,
           ARRAY(SELECT q.verification FROM point q WHERE q.chain_id = p.chain_id AND q.state = 'available'
             AND q.verification @> '{"state": "damaged"}') AS damaged,
           (SELECT count(*)::int FROM point q WHERE q.chain_id = p.chain_id AND q.state = 'available') AS "pointCount"
         FROM point p JOIN chain c ON c.id = p.chain_id
         WHERE ${sameSeries} AND p.state = 'available' AND ($4::uuid IS NULL OR c.id = $4)
         ORDER BY c.created_at DESC, c.id DESC, p.captured_at DESC, p.id DESC LIMIT 1`,
        [...seriesOf(asked), asked.chainId ?? null],
      ),
    );
    return row;
  }

  /**
   * At most the one checkpoint that the next run needs is kept: a new point takes the place of all of its series, also of those
   * that were begun before it and are not captured yet: captures of a VM never overlap, so a checkpoint that is there when this
   * point is committed is older. One that extends a chain by name leaves those of the other chains: the next run without a name
   * goes on there. What runs that overlap leave all the same is not needed (isNeededSql): the reconciler removes it.
   */
  async #supersedes(asked: Asked): Promise<History['supersedes']> {
    const rows = await reading(this.database, (source) =>
      source.query<{ id: PointId }[]>(
        `SELECT p.id FROM point p JOIN chain c ON c.id = p.chain_id
         WHERE ${sameSeries} AND ($4::uuid IS NULL OR c.id = $4)
         ORDER BY p.state = 'failed', p.created_at DESC LIMIT $5`,
        [...seriesOf(asked), asked.chainId ?? null, checkpointsSuperseded],
      ),
    );
    return rows.map(({ id }) => checkpointName(id));
  }
}
