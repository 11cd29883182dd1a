import { type MoverPod, type Retirement, type ScaledGroup } from './scaler.js';

/** A group at one instant. `retirements` were read before `replicas`, and `replicas` before `pods`. */
export interface GroupView {
  readonly group: ScaledGroup;
  /** Queued and running. */
  readonly transfers: number;
  readonly replicas: number;
  readonly pods: readonly MoverPod[];
  /** Names of pods whose worker has a claim. */
  readonly busy: ReadonlySet<string>;
  readonly retirements: readonly Retirement[];
}

/** Since when there are too many pods, and the most that were wanted in that time. */
export interface Surplus {
  readonly since: number;
  readonly mostWanted: number;
}

export type ScalingDecision =
  | { readonly type: 'wait'; readonly why: string }
  | { readonly type: 'raise'; readonly replicas: number }
  /** Retire these, then lower the number by as many as agreed. */
  | { readonly type: 'retire'; readonly pods: readonly MoverPod[] }
  /** These are retired for good, yet the number was not lowered for all of them, or was raised by somebody. */
  | { readonly type: 'lower'; readonly pods: readonly MoverPod[]; readonly replicas: number };

export interface Decided {
  readonly decision: ScalingDecision;
  readonly surplus: Surplus | null;
}

const wait = (why: string): ScalingDecision => ({ type: 'wait', why });

/** Enough for every transfer, never fewer than are busy, within the bounds. */
export const wantedReplicas = ({ group, transfers, busy }: GroupView): number =>
  Math.min(group.max, Math.max(group.min, Math.ceil(transfers / group.transfers), busy.size));

/**
 * Why the number must not be lowered for `leaving` now, or null. Of its pods a Deployment gives up those that are not ready
 * first and looks at the deletion cost only then, and it shares a fall out among the templates of a roll-out: so every pod
 * that stays must be ready, and all must have one template.
 */
export const lowerObstacle = (pods: readonly MoverPod[], leaving: ReadonlySet<string>): string | null => {
  if (new Set(pods.map(({ template }) => template)).size > 1) return 'a roll-out is under way';
  const unready = pods.find(({ name, isReady }) => !isReady && !leaving.has(name));
  return unready ? `pod ${unready.name} is not ready and would go first` : null;
};

/** Those that are not ready, which Kubernetes takes anyway, then the youngest idle ones; none if that can't be done safely. */
export const retirablePods = ({ pods, busy }: GroupView, count: number): readonly MoverPod[] => {
  const idle = pods
    .filter(({ name }) => !busy.has(name))
    .sort((a, b) => Number(a.isReady) - Number(b.isReady) || b.createdAt.localeCompare(a.createdAt))
    .slice(0, count);
  return lowerObstacle(pods, new Set(idle.map(({ name }) => name))) === null ? idle : [];
};

const surplusAfter = (
  view: GroupView,
  wanted: number,
  before: Surplus | null,
  now: number,
): Surplus | null => {
  if (wanted >= view.replicas) return null;
  return { since: before?.since ?? now, mostWanted: Math.max(before?.mostWanted ?? 0, wanted) };
};

/** Pods that are retired for good and still there. */
const spentPods = ({ pods, retirements }: GroupView): readonly MoverPod[] => {
  const spent = new Set(retirements.filter(({ state }) => state === 'lowering').map(({ pod }) => pod));
  return pods.filter(({ name }) => spent.has(name));
};

/** While spent pods are there nothing else is begun: what goes when the number falls is them. */
const decideSpent = (view: GroupView, spent: readonly MoverPod[]): ScalingDecision => {
  const { pods, replicas } = view;
  const going = Math.max(0, pods.length - replicas);
  if (going >= spent.length) return wait(`${spent.length} retired pods are going`);
  const obstacle = lowerObstacle(pods, new Set(spent.map(({ name }) => name)));
  if (obstacle === null) return { type: 'lower', pods: spent, replicas: replicas - (spent.length - going) };
  const wanted = Math.min(view.group.max, wantedReplicas(view)) + spent.length;
  return wanted > replicas ? { type: 'raise', replicas: wanted } : wait(obstacle);
};

const decideSurplus = (view: GroupView, surplus: Surplus, now: number): ScalingDecision => {
  const { group, pods, replicas } = view;
  if (now - surplus.since < group.cooldownSeconds * 1_000) return wait('it may be needed again soon');
  if (pods.length !== replicas) return wait('pods are coming or going');
  const retiring = retirablePods(view, replicas - surplus.mostWanted);
  return retiring.length > 0
    ? { type: 'retire', pods: retiring }
    : wait('a pod that is not ready, or none idle');
};

/**
 * Up at once; down after the cooldown by what was too much all that time, one step at a time and only pods that proved to
 * have no work.
 */
export const decideScaling = (view: GroupView, before: Surplus | null, now: number): Decided => {
  const spent = spentPods(view);
  if (spent.length > 0) return { decision: decideSpent(view, spent), surplus: before };
  const wanted = wantedReplicas(view);
  const surplus = surplusAfter(view, wanted, before, now);
  if (surplus) return { decision: decideSurplus(view, surplus, now), surplus };
  const decision: ScalingDecision =
    wanted > view.replicas ? { type: 'raise', replicas: wanted } : wait('there are enough');
  return { decision, surplus };
};
