import {
  Fault,
  newId,
  type ChainId,
  type ItemChanged,
  type PointId,
  type RunId,
  type TransferChanged,
  type TransferId,
  type VerificationId,
  type Verified,
} from '@casvault/contracts';
import fc from 'fast-check';
import { damageReasons, markOf } from './damage.rules.js';
import { deadlines } from './deadlines.js';
import { Driver } from './testing/driver.js';
import { samplePool } from './testing/samples.js';
import { verificationOf, type VerificationState } from './verification.js';
import {
  verificationMachine,
  type VerificationEffect,
  type VerificationEvent,
} from './verification.machine.js';

type Event = Exclude<VerificationEvent, { type: 'woken' | 'effectFailed' }>;
const sound: Verified = { checkedBytes: 7, disks: [], objects: [] };
const damage = new Fault('POOL_OBJECT_DAMAGED', 'a pack is damaged').toJSON();
const damaged: Verified = { ...sound, objects: [{ key: 'packs/a', fault: damage }] };
const away = new Fault('POOL_UNREACHABLE', 'the pool is away').toJSON();
const moved = { poolBytes: 0, capturedAt: null, method: 'write', consistency: 'crash' } as const;

/** A data-mover that verifies, with its news in the mail. */
class World extends Driver<VerificationState, Event, VerificationEffect> {
  readonly mail: TransferChanged[] = [];
  transfer: TransferChanged | null = null;
  finding = sound;
  /** What the run was told, in the order of its news. */
  readonly told: ItemChanged[] = [];
  readonly request = {
    verificationId: newId<VerificationId>(),
    pointId: newId<PointId>(),
    depth: 'content' as const,
    group: 'default',
    requestedBy: 'ann',
  };

  constructor(private readonly runId?: RunId) {
    super(verificationMachine);
    this.ask();
  }
  ask(): void {
    const request = { ...this.request, ...(this.runId === undefined ? {} : { runId: this.runId }) };
    this.send({ type: 'verify', request, transferId: newId<TransferId>() });
  }
  get shown() {
    return verificationOf(this.present);
  }
  /** Performs an effect; the answer, if any, comes with `settle`. */
  perform(effect: VerificationEffect): Event | null {
    if (effect.type === 'loadPoint')
      return { type: 'pointLoaded', source: { chainId: newId<ChainId>(), pool: samplePool } };
    if (effect.type === 'stopTransfer') this.#tell({ state: 'stopped' });
    else if (effect.type === 'startTransfer') this.#start(effect.command);
    else this.told.push(effect.change);
    return null;
  }
  act(): void {
    if (this.transfer?.state === 'queued')
      this.#tell({
        state: 'succeeded',
        result: { ...moved, disks: [], reasons: [], verified: this.finding },
      });
  }
  break(): void {
    if (this.transfer?.state === 'queued') this.#tell({ state: 'failed', fault: away });
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

  #start({
    transferId,
    ownerId,
    stopAsked,
  }: Extract<VerificationEffect, { type: 'startTransfer' }>['command']) {
    this.transfer ??= {
      transferId,
      ownerId,
      kind: 'verify',
      state: stopAsked ? 'stopped' : 'queued',
      epoch: 0,
      capturedAt: null,
      progress: [],
      reasons: [],
      result: null,
      fault: null,
      at: '2026-01-01T00:00:00.001Z',
    };
    if (stopAsked) this.#tell({ state: 'stopped' });
    this.mail.push(this.transfer);
  }
  #tell(end: Partial<TransferChanged>): void {
    if (this.transfer?.state !== 'queued') return;
    this.transfer = { ...this.transfer, ...end, at: '2026-01-01T00:00:00.002Z' };
    this.mail.push(this.transfer);
  }
}

describe('verification', () => {
  it('E8: protects the point, has it checked, and tells what was found', () => {
    const whole = new World();
    expect(whole.pending.map(({ effect }) => effect.type)).toEqual(['loadPoint']);
    whole.settleAll();
    expect(whole.shown).toMatchObject({ state: 'sound', checkedBytes: 7, fault: null });
    const broken = new World();
    broken.finding = damaged;
    broken.settleAll();
    expect(broken.shown).toMatchObject({ state: 'damaged', objects: damaged.objects });
    const verification = markOf(broken.shown);
    expect(verification).toMatchObject({ state: 'damaged', depth: 'content' });
    expect(damageReasons({ verification })).toEqual(['POINT_DAMAGED']);
    expect(damageReasons({ verification: markOf(whole.shown) })).toEqual([]);
  });

  it('E8: as an item of a run tells it each phase, and fails it for damage', () => {
    const whole = new World(newId<RunId>());
    whole.settleAll();
    const phases = whole.told.map(({ phase }) => phase).filter((phase, i, all) => phase !== all[i - 1]);
    expect(phases).toEqual(['preparing', 'transferring', 'succeeded']);
    const disk = { target: 'vda', sizeBytes: 9, checkedBytes: 9, damagedBytes: 4, damaged: [] };
    const broken = new World(newId<RunId>());
    broken.finding = { ...damaged, disks: [disk] };
    broken.settleAll();
    expect(broken.told.at(-1)).toMatchObject({
      kind: 'verify',
      itemId: broken.request.verificationId,
      pointId: broken.request.pointId,
      phase: 'failed',
      fault: { code: 'POOL_OBJECT_DAMAGED', details: { damagedBytes: 4, objects: 1 } },
    });
  });

  it('tells its end again to a run that asks again, and to one that stops it late', () => {
    const world = new World(newId<RunId>());
    world.settleAll();
    const before = world.told.length;
    world.ask();
    world.send({ type: 'stop' });
    world.flush();
    world.flush();
    expect(world.told.slice(before).map(({ phase }) => phase)).toEqual(['succeeded', 'succeeded']);
    const ats = world.told.map(({ at }) => at);
    expect(ats).toEqual([...new Set(ats)].sort());
  });

  it('says nothing about a point that could not be checked', () => {
    const world = new World();
    world.flush();
    world.flush();
    world.break();
    while (world.mail.length > 0) world.deliver();
    expect(world.shown).toMatchObject({ state: 'failed', fault: away });
    expect(markOf(world.shown)).toBeNull();
  });

  it('asks again when nothing is heard, and gives up a silent data-mover and its transfer', () => {
    const world = new World();
    world.flush();
    world.pass(deadlines.askAgainMs);
    world.wakeIfDue();
    expect(world.of('startTransfer')).toHaveLength(2);
    world.pass(deadlines.transferSilenceMs);
    world.wakeIfDue();
    expect(world.shown).toMatchObject({ state: 'failed', fault: { code: 'DEADLINE_EXCEEDED' } });
    expect(world.of('startTransfer').at(-1)?.command.stopAsked).toBe(true);
  });

  it('stops its transfer, once', () => {
    const world = new World();
    world.flush();
    world.flush();
    world.deliver();
    world.send({ type: 'stop' });
    world.send({ type: 'stop' });
    world.settleAll();
    expect([world.shown.state, world.of('stopTransfer').length]).toEqual(['stopped', 1]);
    expect(world.transfer?.state).toBe('stopped');
  });

  it('fails when the point is not there to be verified', () => {
    const world = new World();
    world.giveUp(world.pending[0]!, new Fault('CONFLICT', 'not available').toJSON());
    expect([world.shown.state, world.done]).toEqual(['failed', true]);
  });

  it('E8: whatever is lost, doubled, late or killed: it ends, and tells what was found or nothing', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(6), fc.nat(9)), { maxLength: 40 }),
        fc.boolean(),
        fc.boolean(),
        (list, isWhole, isItem) => {
          const world = new World(isItem ? newId<RunId>() : undefined);
          world.finding = isWhole ? sound : damaged;
          for (const [what, pick] of list) happen(world, what, pick);
          world.settleAll();
          const { state, finishedAt } = world.shown;
          expect(finishedAt).not.toBeNull();
          expect([isWhole ? 'sound' : 'damaged', 'failed', 'stopped']).toContain(state);
          const ends = {
            sound: 'succeeded',
            damaged: 'failed',
            failed: 'failed',
            stopped: 'stopped',
            running: '',
          };
          expect(world.told.toSorted((a, b) => a.at.localeCompare(b.at)).at(-1)?.phase).toBe(
            isItem ? ends[state] : undefined,
          );
          const after = world.present;
          if (world.transfer) world.send({ type: 'transferNews', change: world.transfer });
          expect(world.present).toEqual(after);
        },
      ),
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
    () => (pick > 8 ? world.send({ type: 'stop' }) : world.act()),
    () => {
      world.pass(pick * 60_000);
      world.wakeIfDue();
    },
  ];
  deeds[what]?.();
};
