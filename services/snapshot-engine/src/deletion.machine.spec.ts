import {
  Fault,
  newId,
  type ChainId,
  type DeletionId,
  type FaultJson,
  type PointId,
  type PoolId,
  type TransferChanged,
  type TransferId,
  type VmId,
} from '@casvault/contracts';
import fc from 'fast-check';
import { deadlines, deletionAttempts } from './deadlines.js';
import { deletionOf, type DeletionRequest, type DeletionState } from './deletion.js';
import { deletionMachine, type DeletionEffect, type DeletionEvent } from './deletion.machine.js';
import { Driver } from './testing/driver.js';

type Event = Exclude<DeletionEvent, { type: 'woken' | 'effectFailed' }>;
const away = new Fault('POOL_UNREACHABLE', 'the pool is away').toJSON();

const sampleRequest = (): DeletionRequest => {
  const vmId = newId<VmId>();
  const points = [1, 2].map(() => ({
    id: newId<PointId>(),
    vmId,
    vmName: 'db',
    capturedAt: null,
    kind: 'incremental' as const,
    poolBytes: 5,
  }));
  return {
    deletionId: newId<DeletionId>(),
    mode: 'cascade',
    chainId: newId<ChainId>(),
    vmId,
    vmName: 'db',
    poolId: newId<PoolId>(),
    group: 'default',
    requestedBy: 'ann',
    list: {
      points,
      remnantIds: [],
      successorIds: [],
      newHeadPointId: null,
      chainGoes: false,
      newestGoes: true,
    },
  };
};

/** A data-mover and a pool as the deletion sees them: news in the mail, removals that fail as long as `trouble` says. */
class World extends Driver<DeletionState, Event, DeletionEffect> {
  readonly mail: TransferChanged[] = [];
  readonly transfers = new Map<string, TransferChanged>();
  readonly gone = new Set<string>();
  trouble: FaultJson | null = null;
  #dryRuns = new Map<string, { dryRun: boolean; pointIds: readonly string[] }>();

  constructor(readonly request = sampleRequest()) {
    super(deletionMachine);
    this.preview();
  }
  preview(): void {
    this.send({ type: 'preview', request: this.request, measureId: newId<TransferId>() });
  }
  confirm(): void {
    const attemptIds = Array.from({ length: deletionAttempts }, () => newId<TransferId>());
    this.send({ type: 'confirm', by: 'bob', attemptIds });
  }
  perform(effect: DeletionEffect): void {
    if (effect.type === 'removePoints') this.#ask(effect.command);
    if (effect.type === 'stopTransfer') this.#end(effect.transferId, { state: 'stopped' });
  }
  /** The removal of that transfer is carried out. */
  act(transferId: string): void {
    const asked = this.#dryRuns.get(transferId);
    const { trouble } = this;
    if (!asked) return;
    if (trouble) return this.#end(transferId, { state: 'failed', fault: trouble });
    if (!asked.dryRun) for (const id of asked.pointIds) this.gone.add(id);
    const removed = { freedBytes: 10, removedObjects: 3 };
    const result = { poolBytes: 0, capturedAt: null, method: 'write', consistency: 'crash' } as const;
    this.#end(transferId, { state: 'succeeded', result: { ...result, disks: [], reasons: [], removed } });
  }
  deliver(index: number, keep = false): void {
    const change = keep ? this.mail[index] : this.mail.splice(index, 1)[0];
    if (change) this.send({ type: 'transferNews', change });
  }
  flush(): void {
    for (const one of this.performable()) {
      this.perform(one.effect);
      this.settle(one, null);
    }
  }
  settleAll(): void {
    for (let i = 0; i < 3_000 && !(this.done && this.pending.length === 0); i++) {
      this.flush();
      while (this.mail.length > 0) this.deliver(0);
      for (const id of this.transfers.keys()) this.act(id);
      if (this.pending.length === 0 && this.mail.length === 0 && this.wakeAt)
        this.now = new Date(Math.max(this.now.getTime(), this.wakeAt.getTime()));
      this.wakeIfDue();
    }
  }
  measured(): this {
    for (let i = 0; i < 20 && this.present.phase === 'measuring'; i++) {
      this.flush();
      for (const id of this.transfers.keys()) this.act(id);
      while (this.mail.length > 0) this.deliver(0);
    }
    return this;
  }

  #ask(command: Extract<DeletionEffect, { type: 'removePoints' }>['command']): void {
    const { transferId, ownerId, dryRun = false, pointIds } = command;
    const present = this.transfers.get(transferId);
    if (present) return void this.mail.push(present);
    this.#dryRuns.set(transferId, { dryRun, pointIds });
    const news: TransferChanged = {
      transferId,
      ownerId,
      kind: 'removal',
      state: 'queued',
      epoch: 0,
      capturedAt: null,
      progress: [],
      reasons: [],
      result: null,
      fault: null,
      at: '2026-01-01T00:00:00.001Z',
    };
    this.transfers.set(transferId, news);
    this.mail.push(news);
  }
  #end(transferId: string, end: Partial<TransferChanged>): void {
    const present = this.transfers.get(transferId);
    if (present?.state !== 'queued') return;
    const news = { ...present, ...end, at: '2026-01-01T00:00:00.002Z' };
    this.transfers.set(transferId, news);
    this.mail.push(news);
  }
}

describe('deletion', () => {
  it('G1: measures, waits to be confirmed, removes, and then the newest bitmap', () => {
    const world = new World().measured();
    expect(deletionOf(world.present)).toMatchObject({ state: 'ready', freedBytes: 10, confirmedBy: null });
    expect(world.gone.size).toBe(0);
    world.confirm();
    expect(world.present.phase).toBe('deleting');
    world.settleAll();
    expect(deletionOf(world.present)).toMatchObject({
      state: 'deleted',
      confirmedBy: 'bob',
      requestedBy: 'ann',
    });
    expect([...world.gone]).toEqual(world.request.list.points.map(({ id }) => id));
    expect(world.of('removeCheckpoints')).toEqual([{ type: 'removeCheckpoints', vmId: world.request.vmId }]);
  });

  it('tries again, later and later, until the pool lets them go', () => {
    const world = new World().measured();
    world.trouble = away;
    world.confirm();
    for (let i = 0; i < 400 && world.of('removePoints').length < 5; i++) {
      world.flush();
      for (const id of world.transfers.keys()) world.act(id);
      while (world.mail.length > 0) world.deliver(0);
      if (world.wakeAt) world.now = new Date(Math.max(world.now.getTime(), world.wakeAt.getTime()));
      world.wakeIfDue();
    }
    expect(world.present).toMatchObject({ phase: 'deleting', reasons: ['REMOVAL_RETRIED'], fault: away });
    world.trouble = null;
    world.settleAll();
    expect(deletionOf(world.present)).toMatchObject({ state: 'deleted', fault: null });
  });

  it('fails after its attempts with what was wrong, and goes on when it is confirmed again', () => {
    const world = new World().measured();
    world.trouble = away;
    const began = world.now.getTime();
    world.confirm();
    world.settleAll();
    expect(deletionOf(world.present)).toMatchObject({ state: 'failed', fault: away });
    expect(world.of('removePoints')).toHaveLength(1 + deletionAttempts);
    expect(world.now.getTime() - began).toBeGreaterThan(3 * 3_600_000);
    world.trouble = null;
    world.confirm();
    world.settleAll();
    expect(world.present.phase).toBe('deleted');
  });

  it('never tries again by itself where the pool is damaged', () => {
    const world = new World().measured();
    world.trouble = new Fault('POOL_OBJECT_DAMAGED', 'a manifest is damaged').toJSON();
    world.confirm();
    world.settleAll();
    expect(world.present.phase).toBe('failed');
    expect(world.of('removePoints')).toHaveLength(2);
  });

  it('expires, and is cancelled before it is confirmed only', () => {
    const late = new World().measured();
    late.pass(deadlines.confirmMs);
    late.wakeIfDue();
    expect(late.present.phase).toBe('expired');
    expect(() => late.confirm()).toThrow(expect.objectContaining({ code: 'CONFLICT' }) as Error);
    const early = new World();
    early.flush();
    early.send({ type: 'cancel' });
    early.settleAll();
    expect([early.present.phase, early.of('stopTransfer').length]).toEqual(['cancelled', 1]);
    const begun = new World().measured();
    begun.confirm();
    expect(() => begun.send({ type: 'cancel' })).toThrow(
      expect.objectContaining({ code: 'CONFLICT' }) as Error,
    );
  });

  it('is deleted though the host with the bitmap is away, and says so', () => {
    const world = new World().measured();
    world.confirm();
    for (let i = 0; i < 10 && world.present.phase !== 'deleted'; i++) {
      for (const one of world.performable().filter(({ effect }) => effect.type === 'removePoints')) {
        world.perform(one.effect);
        world.settle(one, null);
      }
      for (const id of world.transfers.keys()) world.act(id);
      while (world.mail.length > 0) world.deliver(0);
    }
    const [left] = world.performable();
    if (!left) throw new Error('no bitmap to remove');
    world.giveUp(left, new Fault('DISK_SERVICE_UNREACHABLE', 'away').toJSON());
    expect(world.present).toMatchObject({ phase: 'deleted', reasons: ['CHECKPOINT_LEFT'], fault: null });
  });

  it('G2: whatever is lost, doubled, late, refused or killed: it ends, and only confirmed points of its list are gone', () => {
    const happenings = fc.array(fc.tuple(fc.nat(deeds.length), fc.nat(9)), { maxLength: 60 });
    fc.assert(
      fc.property(happenings, fc.boolean(), (list, isSick) => {
        const world = new World();
        let isConfirmed = false;
        for (const [what, pick] of list) {
          if (happen(world, what, pick)) isConfirmed = true;
          if (!isConfirmed) expect(world.gone.size).toBe(0);
        }
        world.trouble = isSick ? away : null;
        world.settleAll();
        world.pass(deadlines.confirmMs + deadlines.deletionMs);
        world.settleAll();
        const { phase } = world.present;
        expect(['deleted', 'failed', 'cancelled', 'expired', 'refused']).toContain(phase);
        const listed = new Set<string>(world.request.list.points.map(({ id }) => id));
        expect([...world.gone].filter((id) => !listed.has(id))).toEqual([]);
        if (phase === 'deleted') expect(world.gone).toEqual(listed);
        if (!isConfirmed) expect(world.gone.size).toBe(0);
      }),
      { numRuns: 400 },
    );
  });
});

type Deed = (world: World, pick: number) => void;
const chosen = (world: World, pick: number) => world.performable()[pick % Math.max(1, world.pending.length)];
const mailAt = ({ mail }: World, pick: number): number => pick % Math.max(1, mail.length);

const deeds: readonly Deed[] = [
  (world, pick) => {
    const one = chosen(world, pick);
    if (!one) return;
    world.perform(one.effect);
    world.settle(one, null);
  },
  // Performed, yet the process died before that was known.
  (world, pick) => {
    const one = chosen(world, pick);
    if (one) world.perform(one.effect);
  },
  (world, pick) => {
    const one = chosen(world, pick);
    if (one && pick > 6) world.giveUp(one, away);
  },
  (world, pick) => world.deliver(mailAt(world, pick)),
  (world, pick) => world.deliver(mailAt(world, pick), true),
  (world, pick) => void world.mail.splice(mailAt(world, pick), 1),
  (world, pick) => {
    const transferId = [...world.transfers.keys()][pick % Math.max(1, world.transfers.size)];
    if (transferId) world.act(transferId);
  },
  (world, pick) => {
    world.trouble = pick > 5 ? away : null;
  },
  (world, pick) => {
    world.pass(pick * 60_000);
    world.wakeIfDue();
  },
  (world) => world.preview(),
];

/** One arbitrary thing; true when it confirmed the deletion. */
const happen = (world: World, what: number, pick: number): boolean => {
  const deed = deeds[what];
  if (!deed) return tryOut(world, pick);
  deed(world, pick);
  return false;
};

const tryOut = (world: World, pick: number): boolean => {
  try {
    if (pick > 8) world.send({ type: 'cancel' });
    else world.confirm();
    return world.present.phase === 'deleting';
  } catch (error) {
    expect(Fault.from(error).code).toBe('CONFLICT');
    return false;
  }
};
