import { type MoverPod, type Retirement } from './scaler.js';
import { decideScaling, retirablePods, wantedReplicas, type GroupView } from './scaler.rules.js';

const group = { group: 'g', deployment: 'd', min: 1, max: 5, transfers: 2, cooldownSeconds: 60 };
const pod = (name: string, isReady = true, template = 'a'): MoverPod => ({
  name,
  resourceVersion: '1',
  isReady,
  template,
  createdAt: `2026-01-01T00:00:0${name}Z`,
});
const pods = (...names: readonly string[]): MoverPod[] => names.map((name) => pod(name));
const view = (over: Partial<GroupView> = {}): GroupView => ({
  group,
  transfers: 0,
  replicas: over.pods?.length ?? 0,
  pods: [],
  busy: new Set(),
  retirements: [],
  ...over,
});
const spent = (name: string): Retirement => ({ pod: name, state: 'lowering', number: 1 });
const namesOf = (chosen: readonly MoverPod[]): string[] => chosen.map(({ name }) => name);

describe('how many movers a group has', () => {
  it.each([
    [0, [], 1],
    [2, [], 1],
    [3, [], 2],
    [500, [], 5],
    [3, ['1', '2', '3'], 3],
  ])('%d transfers with %j busy want %d', (transfers, busy, wanted) => {
    expect(wantedReplicas(view({ transfers, busy: new Set(busy) }))).toBe(wanted);
  });

  it('raises at once', () => {
    const { decision, surplus } = decideScaling(view({ transfers: 7, pods: pods('1') }), null, 0);
    expect(decision).toEqual({ type: 'raise', replicas: 4 });
    expect(surplus).toBeNull();
  });

  it('falls after the cooldown, to the most that was wanted in it', () => {
    const four = pods('1', '2', '3', '4');
    const first = decideScaling(view({ pods: four }), null, 0);
    expect(first.decision.type).toBe('wait');
    const second = decideScaling(view({ pods: four, transfers: 6 }), first.surplus, 30_000);
    const third = decideScaling(view({ pods: four }), second.surplus, 60_000);
    expect(third.decision).toEqual({ type: 'retire', pods: [pod('4')] });
    const interrupted = decideScaling(view({ pods: four, transfers: 8 }), first.surplus, 30_000);
    expect(interrupted.surplus).toBeNull();
  });

  it('begins no fall while pods are coming', () => {
    const surplus = { since: 0, mostWanted: 1 };
    const { decision } = decideScaling(view({ pods: pods('1', '2'), replicas: 3 }), surplus, 60_000);
    expect(decision.type).toBe('wait');
  });
});

describe('which pods retire', () => {
  it('takes the youngest idle ones', () => {
    expect(namesOf(retirablePods(view({ pods: pods('1', '2', '3', '4'), busy: new Set(['4']) }), 2))).toEqual(
      ['3', '2'],
    );
  });

  it('takes those that are not ready first, as Kubernetes does', () => {
    expect(namesOf(retirablePods(view({ pods: [pod('1', false), ...pods('2', '3')] }), 2))).toEqual([
      '1',
      '3',
    ]);
  });

  it('takes none while one that is not ready would stay, or may be busy', () => {
    expect(retirablePods(view({ pods: [pod('1', false), pod('2', false), pod('3')] }), 1)).toEqual([]);
    expect(retirablePods(view({ pods: [pod('1', false), pod('2')], busy: new Set(['1']) }), 1)).toEqual([]);
  });

  it('takes none during a roll-out', () => {
    expect(retirablePods(view({ pods: [pod('1'), pod('2', true, 'b')] }), 1)).toEqual([]);
  });
});

describe('pods that are retired for good', () => {
  const three = pods('1', '2', '3');

  it('are waited for when the number has fallen, whatever is queued', () => {
    const { decision } = decideScaling(
      view({ pods: three, replicas: 2, transfers: 9, retirements: [spent('3')] }),
      null,
      0,
    );
    expect(decision.type).toBe('wait');
  });

  it('are lowered for when it has not, by those that are missing', () => {
    const retirements = [spent('2'), spent('3')];
    const { decision } = decideScaling(view({ pods: three, replicas: 2, retirements }), null, 0);
    expect(decision).toEqual({ type: 'lower', pods: [pod('2'), pod('3')], replicas: 1 });
  });

  it('are made up for while they can not go', () => {
    const blocked = [pod('1', false), pod('2')];
    const state = { pods: blocked, replicas: 2, transfers: 6, retirements: [spent('2')] };
    expect(decideScaling(view(state), null, 0).decision).toEqual({ type: 'raise', replicas: 4 });
    expect(decideScaling(view({ ...state, transfers: 2 }), null, 0).decision.type).toBe('wait');
  });

  it('are nobody’s concern once they are gone', () => {
    const { decision } = decideScaling(
      view({ pods: pods('1'), transfers: 2, retirements: [spent('9')] }),
      null,
      0,
    );
    expect(decision).toEqual({ type: 'wait', why: 'there are enough' });
  });
});
