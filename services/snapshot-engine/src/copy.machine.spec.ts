import {
  Fault,
  newId,
  transferOptionsSchema,
  type ChainId,
  type CopySpec,
  type ItemChanged,
  type PointId,
  type PoolId,
  type removePoints,
  type RunId,
  type RunItemId,
  type TransferChanged,
  type TransferId,
} from '@casvault/contracts';
import fc from 'fast-check';
import { type z } from 'zod';
import { copyMachine, type CopyEffect, type CopyEvent } from './copy.machine.js';
import { copyPointState, type CopyState } from './copy.js';
import { deadlines } from './deadlines.js';
import { Driver } from './testing/driver.js';
import { ModelTransfer } from './testing/model-transfer.js';
import { samplePool } from './testing/samples.js';

type Event = Exclude<CopyEvent, { type: 'woken' | 'effectFailed' }>;
const options = transferOptionsSchema.parse({});
const away = new Fault('DEPENDENCY_UNAVAILABLE', 'no data base').toJSON();

/** A catalogue that places the copy, and a data-mover that makes it, with its news in the mail. */
class World extends Driver<CopyState, Event, CopyEffect> {
  readonly transfer = new ModelTransfer();
  readonly mail: TransferChanged[] = [];
  /** What was removed from the pool. */
  readonly removed: PointId[] = [];
  readonly told: ItemChanged[] = [];
  /** What the pool has of the point already. */
  found: PointId | null = null;
  readonly request = {
    itemId: newId<RunItemId>(),
    runId: newId<RunId>(),
    pointId: newId<PointId>(),
    poolId: newId<PoolId>(),
    group: 'default',
    options,
  };
  readonly ids = { copyId: newId<PointId>(), transferId: newId<TransferId>() };
  readonly spec: CopySpec = {
    kind: 'copy',
    pointId: this.ids.copyId,
    chainId: newId<ChainId>(),
    parentPointId: null,
    pool: samplePool,
    source: {
      pointId: this.request.pointId,
      chainId: newId<ChainId>(),
      sincePointId: null,
      pool: samplePool,
    },
    options,
  };

  constructor() {
    super(copyMachine);
    this.ask();
  }
  ask(): void {
    this.send({ type: 'copy', request: this.request, ids: this.ids });
  }
  get shown() {
    return [this.present.phase, copyPointState(this.present)];
  }
  perform(effect: CopyEffect): Event | null {
    if (effect.type === 'placePoint')
      return this.found === null
        ? { type: 'pointPlaced', spec: this.spec }
        : { type: 'pointFound', pointId: this.found };
    if (effect.type === 'startTransfer') this.transfer.start(effect.command);
    else if (effect.type === 'stopTransfer') this.transfer.stop();
    else if (effect.type === 'removeData') this.#remove(effect.command);
    else this.told.push(effect.change);
    this.mail.push(...this.transfer.mail.splice(0));
    return null;
  }
  act(pick = 3): void {
    this.transfer.act(pick);
    this.mail.push(...this.transfer.mail.splice(0));
  }
  deliver(index = 0, keep = false): void {
    const change = keep ? this.mail[index] : this.mail.splice(index, 1)[0];
    if (change) this.send({ type: 'transferNews', change });
  }
  flush(): void {
    for (const one of this.performable()) this.settle(one, this.perform(one.effect));
  }
  settleAll(): void {
    for (let i = 0; i < 300 && !(this.done && this.pending.length === 0); i++) {
      this.flush();
      while (this.mail.length > 0) this.deliver();
      this.act();
      if (this.pending.length === 0 && this.mail.length === 0 && this.wakeAt)
        this.now = new Date(Math.max(this.now.getTime(), this.wakeAt.getTime()));
      this.wakeIfDue();
    }
  }

  /** Waits, as the data-mover does, until nobody writes the point. */
  #remove({ transferId, ownerId, pointIds }: z.infer<typeof removePoints.payload>): void {
    if (!this.transfer.isOver) return;
    this.removed.push(...pointIds);
    const base = this.transfer.present;
    if (base) this.mail.push({ ...base, transferId, ownerId, kind: 'removal', state: 'succeeded' });
  }
}

describe('copy', () => {
  it('E7: gets its place, is made by a mover, and is available', () => {
    const world = new World();
    expect(world.shown).toEqual(['preparing', 'pending']);
    world.settleAll();
    expect(world.shown).toEqual(['succeeded', 'available']);
    expect(world.present.result?.disks[0]?.mapRoot).toBe('cd');
    const phases = world.told.map(({ phase }) => phase).filter((phase, i, all) => phase !== all[i - 1]);
    expect(phases).toEqual(['preparing', 'transferring', 'succeeded']);
    expect(world.told.at(-1)).toMatchObject({ kind: 'copy', pointId: world.ids.copyId, fault: null });
    expect(world.removed).toEqual([]);
  });

  it('E7: what the pool has already is the result, and nothing moves', () => {
    const world = new World();
    world.found = newId<PointId>();
    world.settleAll();
    expect(world.present.phase).toBe('succeeded');
    expect(world.told.at(-1)?.pointId).toBe(world.found);
    expect(world.transfer.present).toBeNull();
  });

  it('E7: a failed one leaves nothing in the pool, and says why', () => {
    const world = new World();
    for (let i = 0; i < 3; i++) world.flush();
    for (const pick of [3, 3, 3, 2]) world.act(pick);
    world.settleAll();
    expect(world.shown).toEqual(['failed', 'failed']);
    expect(world.present.fault?.code).toBe('POOL_FULL');
    expect(world.removed).toEqual([world.ids.copyId]);
  });

  it('a stop ends its transfer first, and removes what it wrote', () => {
    const world = new World();
    for (let i = 0; i < 3; i++) world.flush();
    world.act();
    world.deliver();
    world.deliver();
    world.send({ type: 'stop' });
    expect(world.present.stage).toBe('stopping');
    world.settleAll();
    expect(world.shown).toEqual(['stopped', 'failed']);
    expect(world.removed).toEqual([world.ids.copyId]);
  });

  it('a stop that comes too late leaves the copy', () => {
    const world = new World();
    for (let i = 0; i < 3; i++) world.flush();
    for (let i = 0; i < 4; i++) world.act();
    world.send({ type: 'stop' });
    world.settleAll();
    expect(world.shown).toEqual(['succeeded', 'available']);
  });

  it('fails without a place, and when the data-mover stays silent', () => {
    const placeless = new World();
    placeless.giveUp(placeless.pending[0]!, away);
    expect([placeless.shown, placeless.done]).toEqual([['failed', 'failed'], true]);
    const silent = new World();
    silent.flush();
    for (const late of [deadlines.transferSilenceMs, deadlines.stopMs, deadlines.cleanMs]) {
      silent.pass(late);
      silent.wakeIfDue();
    }
    expect([silent.shown, silent.done]).toEqual([['failed', 'failed'], true]);
    expect(silent.present.fault?.code).toBe('DEADLINE_EXCEEDED');
  });

  it('tells its end again to a run that asks again, and to one that stops it late', () => {
    const world = new World();
    world.settleAll();
    const before = world.told.length;
    world.ask();
    world.send({ type: 'stop' });
    world.flush();
    world.flush();
    expect(world.told.slice(before).map(({ phase }) => phase)).toEqual(['succeeded', 'succeeded']);
  });

  it('E7: whatever is lost, doubled, late or killed: it ends, and either the copy is available or what it wrote was removed', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(6), fc.nat(9)), { maxLength: 40 }), (list) => {
        const world = new World();
        for (const [what, pick] of list) happen(world, what, pick);
        world.settleAll();
        const { phase, stage } = world.present;
        expect([stage, world.done]).toEqual(['over', true]);
        expect(copyPointState(world.present)).toBe(phase === 'succeeded' ? 'available' : 'failed');
        if (phase === 'succeeded') expect(world.removed).toEqual([]);
        const newest = world.told.toSorted((a, b) => a.at.localeCompare(b.at)).at(-1);
        expect(newest?.phase).toBe(phase);
        const { present } = world;
        if (world.transfer.present) world.send({ type: 'transferNews', change: world.transfer.present });
        expect(world.present).toEqual(present);
      }),
      { numRuns: 300 },
    );
  });
});

const happen = (world: World, what: number, pick: number): void => {
  const one = world.performable()[pick % Math.max(1, world.pending.length)];
  const mail = pick % Math.max(1, world.mail.length);
  const deeds = [
    () => one && world.settle(one, world.perform(one.effect)),
    // Performed, yet the process died before that was known.
    () => one && world.perform(one.effect),
    () => world.deliver(mail),
    () => world.deliver(mail, true),
    () => void world.mail.splice(mail, 1),
    () => (pick > 8 ? world.send({ type: 'stop' }) : world.act(pick % 4)),
    () => {
      world.pass(pick * 60_000);
      world.wakeIfDue();
    },
  ];
  deeds[what]?.();
};
