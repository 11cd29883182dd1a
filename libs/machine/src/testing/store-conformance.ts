import { type ClaimedEffect, type MachineStore, type NewEffect, type SavedStep } from '../store.js';

export interface StoreUnderTest {
  readonly store: MachineStore;
  /** Lets the store's own time pass. */
  readonly pass: (ms: number) => Promise<void>;
}

const kind = 'conformance';
/** Short enough to be waited for, long enough for a slow machine between two statements. */
const leaseMs = 1_500;
const t0 = new Date('2026-01-01T00:00:00Z');
const later = (ms: number) => new Date(t0.getTime() + ms);

const effect = (id: string, lane = 'lane'): NewEffect => ({
  effectId: id,
  effect: { type: 'do', id },
  lane,
  traceparent: `00-${id}`,
});
const saved = (state: unknown, rest: Partial<SavedStep> = {}): SavedStep => ({
  state,
  traceparent: null,
  effects: [],
  wakeAt: null,
  done: false,
  ...rest,
});
const ids = (claimed: readonly ClaimedEffect[]) => claimed.map(({ effectId }) => effectId);

/** The promises of `MachineStore`; every adapter runs them. `fresh` makes an empty store. */
export const machineStoreConformance = (name: string, fresh: () => Promise<StoreUnderTest>): void => {
  describe(`${name} as a machine store`, () => {
    let store: MachineStore;
    let pass: StoreUnderTest['pass'];
    beforeEach(async () => {
      ({ store, pass } = await fresh());
    });
    const put = (id: string, step: SavedStep, now = t0) => store.apply(kind, id, {}, () => step, now);
    const claimOne = async (): Promise<ClaimedEffect> => {
      const [claimed] = await store.claim(kind, 1, leaseMs);
      if (!claimed) throw new Error('nothing to claim');
      return claimed;
    };

    it('begins with null and version 0, and keeps what was saved', async () => {
      expect(await store.read(kind, 'a')).toBeNull();
      const seen: unknown[] = [];
      const state = { list: [1] };
      const applied = await store.apply(
        kind,
        'a',
        {},
        (before, version) => {
          seen.push(before, version);
          return saved(state);
        },
        t0,
      );
      state.list.push(2);
      expect(applied).toEqual({ outcome: 'stepped', state: { list: [1] } });
      expect(await store.read(kind, 'a')).toEqual({ list: [1] });
      expect(await store.read('other-kind', 'a')).toBeNull();
      await store.apply(kind, 'a', {}, (before, version) => (seen.push(before, version), saved('next')), t0);
      expect(seen).toEqual([null, 0, { list: [1] }, 1]);
    });

    it('changes nothing when the decision throws', async () => {
      await put('a', saved('before'));
      const failing = store.apply(
        kind,
        'a',
        { messageId: 'm' },
        () => {
          throw new Error('no');
        },
        t0,
      );
      await expect(failing).rejects.toThrow('no');
      expect(await store.read(kind, 'a')).toBe('before');
      const again = await store.apply(kind, 'a', { messageId: 'm' }, () => saved('after'), t0);
      expect(again).toEqual({ outcome: 'stepped', state: 'after' });
    });

    it('handles a message once per instance, until it is forgotten', async () => {
      const step = (id: string, n: number) =>
        store.apply(kind, id, { messageId: 'm' }, () => saved(n), new Date());
      expect(await step('a', 1)).toEqual({ outcome: 'stepped', state: 1 });
      expect(await step('a', 2)).toEqual({ outcome: 'duplicate', state: 1 });
      expect(await step('b', 3)).toEqual({ outcome: 'stepped', state: 3 });
      await store.forgetMessages(new Date(Date.now() - 60_000));
      expect((await step('a', 4)).outcome).toBe('duplicate');
      await store.forgetMessages(new Date(Date.now() + 60_000));
      expect((await step('a', 5)).outcome).toBe('stepped');
    });

    it('never overlaps two steps of one instance', async () => {
      const count = 24;
      const versions = new Set<number>();
      const step = (n: number) =>
        store.apply(
          kind,
          'a',
          {},
          (state, version) => {
            versions.add(version);
            return saved(((state as number[] | null) ?? []).concat(n));
          },
          t0,
        );
      const all: Promise<unknown>[] = [];
      for (let n = 0; n < count; n++) all.push(step(n));
      await Promise.all(all);
      expect(versions.size).toBe(count);
      expect(new Set((await store.read(kind, 'a')) as number[]).size).toBe(count);
    });

    it('claims effects oldest first, up to the limit, each by one holder', async () => {
      await put('a', saved(1, { effects: [effect('a1', 'x'), effect('a2', 'y')] }));
      await put('b', saved(1, { effects: [effect('b1')] }));
      const first = await store.claim(kind, 2, leaseMs);
      expect(ids(first)).toEqual(['a1', 'a2']);
      expect(first[0]).toMatchObject({
        instanceId: 'a',
        effect: { type: 'do', id: 'a1' },
        traceparent: '00-a1',
        attempt: 1,
        done: false,
      });
      expect(ids(await store.claim(kind, 2, leaseMs))).toEqual(['b1']);
      expect(await store.claim(kind, 2, leaseMs)).toEqual([]);
      expect(await store.claim('other-kind', 2, leaseMs)).toEqual([]);
    });

    it('gives no effect to two claimers at once', async () => {
      const effects: NewEffect[] = [];
      for (let n = 0; n < 40; n++) effects.push(effect(`e${n}`, `lane-${n}`));
      await put('a', saved(1, { effects }));
      const claims: Promise<readonly ClaimedEffect[]>[] = [];
      for (let n = 0; n < 8; n++) claims.push(store.claim(kind, 10, 60_000));
      const claimed = (await Promise.all(claims)).flat();
      expect(new Set(ids(claimed)).size).toBe(claimed.length);
    });

    it('lets a claim go over after its lease, and refuses the old holder', async () => {
      await put('a', saved(1, { effects: [effect('e')] }));
      const old = await claimOne();
      await pass(leaseMs + 500);
      const fresh = await claimOne();
      expect(fresh.attempt).toBe(2);
      expect(await store.renew(old, leaseMs)).toBe(false);
      const late = await store.apply(kind, 'a', { completes: old }, () => saved('late'), t0);
      expect(late).toEqual({ outcome: 'superseded', state: 1 });
      const good = await store.apply(kind, 'a', { completes: fresh }, () => saved('good'), t0);
      expect(good).toEqual({ outcome: 'stepped', state: 'good' });
      const again = await store.apply(kind, 'a', { completes: fresh }, () => saved('twice'), t0);
      expect(again).toEqual({ outcome: 'superseded', state: 'good' });
      await pass(leaseMs + 500);
      expect(await store.claim(kind, 1, leaseMs)).toEqual([]);
    });

    it('keeps a renewed claim', async () => {
      await put('a', saved(1, { effects: [effect('e')] }));
      const claim = await claimOne();
      await pass(leaseMs - 500);
      expect(await store.renew(claim, leaseMs)).toBe(true);
      await pass(leaseMs - 500);
      expect(await store.claim(kind, 1, leaseMs)).toEqual([]);
    });

    it('takes a released effect up after its delay', async () => {
      await put('a', saved(1, { effects: [effect('e')] }));
      const claim = await claimOne();
      await store.release(claim, 1_000);
      expect(await store.claim(kind, 1, leaseMs)).toEqual([]);
      await pass(1_500);
      const next = await claimOne();
      expect(next.attempt).toBe(2);
      await store.release(claim, 0);
      expect(await store.claim(kind, 1, leaseMs)).toEqual([]);
    });

    it('keeps the order of a lane', async () => {
      await put('a', saved(1, { effects: [effect('a1'), effect('a2'), effect('other', 'other')] }));
      await put('a', saved(2, { effects: [effect('a3')] }));
      await put('b', saved(1, { effects: [effect('b1')] }));
      const claimed = await store.claim(kind, 10, leaseMs);
      expect(ids(claimed)).toEqual(['a1', 'other', 'b1']);
      const [a1] = claimed;
      if (!a1) throw new Error('not claimed');
      await store.release(a1, 600_000);
      expect(await store.claim(kind, 10, leaseMs)).toEqual([]);
      await put('c', saved(1, { effects: [effect('c1'), effect('c2')] }));
      const c1 = await claimOne();
      expect(c1.effectId).toBe('c1');
      expect(await store.settle(c1)).toEqual({ isFollowed: true });
      const c2 = await claimOne();
      expect(c2.effectId).toBe('c2');
      expect(await store.settle(c2)).toEqual({ isFollowed: false });
    });

    it('settles an effect without an event', async () => {
      await put('a', saved({ n: 1 }, { effects: [effect('e')] }));
      const old = await claimOne();
      await pass(leaseMs + 500);
      const claim = await claimOne();
      expect(await store.settle(old)).toBeNull();
      expect(await store.settle(claim)).toEqual({ isFollowed: false });
      expect(await store.settle(claim)).toBeNull();
      expect(await store.read(kind, 'a')).toEqual({ n: 1 });
      await pass(leaseMs + 500);
      expect(await store.claim(kind, 1, leaseMs)).toEqual([]);
    });

    it('wakes what is due, once', async () => {
      await put('soon', saved(1, { wakeAt: later(1_000) }));
      await put('later', saved(1, { wakeAt: later(9_000) }));
      await put('never', saved(1));
      expect(await store.dueTimers(kind, later(999), 10)).toEqual([]);
      expect(await store.dueTimers(kind, later(1_000), 10)).toEqual([
        { instanceId: 'soon', traceparent: null },
      ]);
      expect(await store.dueTimers('other-kind', later(99_000), 10)).toEqual([]);
      expect([...(await store.dueTimers(kind, later(99_000), 1))]).toHaveLength(1);
      const wake = (now: Date) => store.apply(kind, 'soon', { timer: true }, () => saved('woken'), now);
      expect((await wake(later(999))).outcome).toBe('superseded');
      expect((await wake(later(1_000))).outcome).toBe('stepped');
      expect((await wake(later(1_000))).outcome).toBe('superseded');
    });

    it('keeps the first trace of an instance for its timers', async () => {
      const at = later(1_000);
      const due = async () => (await store.dueTimers(kind, at, 10)).map(({ traceparent }) => traceparent);
      for (const [traceparent, kept] of [
        [null, null],
        ['first', 'first'],
        ['second', 'first'],
        [null, 'first'],
      ] as const) {
        await put('a', saved(1, { traceparent, wakeAt: at }));
        expect(await due()).toEqual([kept]);
      }
    });

    it('stops the timer of a done instance, and still performs its effects', async () => {
      await put('a', saved(1, { wakeAt: later(1), done: true, effects: [effect('e')] }));
      expect(await store.dueTimers(kind, later(99_000), 10)).toEqual([]);
      expect((await claimOne()).done).toBe(true);
    });
  });
};
