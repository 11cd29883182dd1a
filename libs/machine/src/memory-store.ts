import { type Clock } from '@casvault/contracts';
import {
  type Applied,
  type ClaimedEffect,
  type Decide,
  type DueTimer,
  type EffectClaim,
  type MachineStore,
  type NewEffect,
  type SavedStep,
  type StepCause,
} from './store.js';

interface Instance {
  state: unknown;
  version: number;
  traceparent: string | null;
  wakeAt: number | null;
  done: boolean;
}
interface Pending extends NewEffect {
  readonly kind: string;
  readonly instanceId: string;
  token: string | null;
  attempt: number;
  /** Expiry of the claim while there is one, else the earliest time of the next attempt. */
  dueAt: number;
}

const copied = (value: unknown): unknown =>
  value === null || value === undefined ? null : (JSON.parse(JSON.stringify(value)) as unknown);

export interface MemoryMachineStoreOptions {
  /**
   * Values don't go through JSON: several times as fast, right for machines that are known to be pure and plain JSON.
   * For simulators.
   */
  readonly shares?: boolean;
  /** Sees every step once, in the same moment, as a projection in a database's transaction does; a step at which it throws is undone. */
  readonly project?: (step: { kind: string; id: string; before: unknown; after: unknown; now: Date }) => void;
}

/**
 * The store in memory: for unit tests and for the simulator. Everything survives for as long as the object does, so a
 * "restarted" runtime over the same store sees what a restarted process would see.
 */
export class MemoryMachineStore implements MachineStore {
  readonly #clock: Clock;
  readonly #copy: (value: unknown) => unknown;
  readonly #project: NonNullable<MemoryMachineStoreOptions['project']>;
  readonly #instances = new Map<string, Instance>();
  readonly #effects = new Map<string, Pending>();
  readonly #handled = new Map<string, number>();
  #tokens = 0;

  constructor(clock: Clock, { shares = false, project }: MemoryMachineStoreOptions = {}) {
    this.#clock = clock;
    this.#copy = shares ? (value) => value ?? null : copied;
    this.#project = project ?? (() => undefined);
  }

  async apply(
    kind: string,
    instanceId: string,
    cause: StepCause,
    decide: Decide,
    now: Date,
  ): Promise<Applied> {
    const key = `${kind}/${instanceId}`;
    const before = this.#instances.get(key);
    const refused = this.#refusal(key, before, cause, now);
    if (refused) return { outcome: refused, state: this.#copy(before?.state) };
    const version = before?.version ?? 0;
    const saved = decide(this.#copy(before?.state), version);
    const state = this.#copy(saved ? saved.state : before?.state);
    const previous = before?.state ?? null;
    if (saved) this.#project({ kind, id: instanceId, before: previous, after: state, now });
    if (cause.messageId !== undefined) this.#handled.set(`${key}/${cause.messageId}`, now.getTime());
    if (cause.completes) this.#effects.delete(cause.completes.effectId);
    if (saved) this.#save(kind, instanceId, version + 1, saved);
    return { outcome: 'stepped', state };
  }

  async read(kind: string, instanceId: string): Promise<unknown> {
    return this.#copy(this.#instances.get(`${kind}/${instanceId}`)?.state);
  }

  async dueTimers(kind: string, now: Date, limit: number): Promise<readonly DueTimer[]> {
    const due: DueTimer[] = [];
    for (const [key, { wakeAt, traceparent }] of this.#instances) {
      if (due.length === limit) break;
      if (key.startsWith(`${kind}/`) && wakeAt !== null && wakeAt <= now.getTime())
        due.push({ instanceId: key.slice(kind.length + 1), traceparent });
    }
    return due;
  }

  async claim(kind: string, limit: number, leaseMs: number): Promise<readonly ClaimedEffect[]> {
    const now = this.#clock.now().getTime();
    const lanes = new Set<string>();
    const claimed: ClaimedEffect[] = [];
    for (const pending of this.#effects.values()) {
      if (claimed.length === limit) break;
      const lane = `${pending.kind}/${pending.instanceId}/${pending.lane}`;
      const first = !lanes.has(lane);
      lanes.add(lane);
      if (pending.kind !== kind || !first || pending.dueAt > now) continue;
      pending.token = `claim-${++this.#tokens}`;
      pending.attempt += 1;
      pending.dueAt = now + leaseMs;
      claimed.push(this.#claimed(pending, pending.token));
    }
    return claimed;
  }

  async renew(claim: EffectClaim, leaseMs: number): Promise<boolean> {
    const pending = this.#held(claim);
    if (pending) pending.dueAt = this.#clock.now().getTime() + leaseMs;
    return pending !== undefined;
  }

  async release(claim: EffectClaim, delayMs: number): Promise<void> {
    const pending = this.#held(claim);
    if (!pending) return;
    pending.token = null;
    pending.dueAt = this.#clock.now().getTime() + delayMs;
  }

  async forgetMessages(before: Date): Promise<void> {
    for (const [key, at] of this.#handled) if (at < before.getTime()) this.#handled.delete(key);
  }

  /**
   * The first instant by the store's clock at which a pass could find something to do, null if never; for simulators, which
   * need not poll. A timer is due when the clock of whoever asks, `aheadMs` ahead of the store's, has come to it.
   */
  nextDue(aheadMs: number): number | null {
    let next = Infinity;
    for (const { wakeAt } of this.#instances.values())
      if (wakeAt !== null) next = Math.min(next, wakeAt - aheadMs);
    const lanes = new Set<string>();
    for (const { kind, instanceId, lane, dueAt } of this.#effects.values()) {
      const name = `${kind}/${instanceId}/${lane}`;
      if (!lanes.has(name)) next = Math.min(next, dueAt);
      lanes.add(name);
    }
    return next === Infinity ? null : next;
  }

  #refusal(key: string, instance: Instance | undefined, cause: StepCause, now: Date) {
    if (cause.messageId !== undefined && this.#handled.has(`${key}/${cause.messageId}`)) return 'duplicate';
    if (cause.completes && !this.#held(cause.completes)) return 'superseded';
    const wakeAt = instance?.wakeAt ?? null;
    if (cause.timer && (wakeAt === null || wakeAt > now.getTime())) return 'superseded';
    return undefined;
  }

  #save(kind: string, instanceId: string, version: number, saved: SavedStep): void {
    const key = `${kind}/${instanceId}`;
    this.#instances.set(key, {
      state: this.#copy(saved.state),
      version,
      traceparent: this.#instances.get(key)?.traceparent ?? saved.traceparent,
      wakeAt: saved.done ? null : (saved.wakeAt?.getTime() ?? null),
      done: saved.done,
    });
    for (const effect of saved.effects)
      this.#effects.set(effect.effectId, {
        ...effect,
        effect: this.#copy(effect.effect),
        kind,
        instanceId,
        token: null,
        attempt: 0,
        dueAt: this.#clock.now().getTime(),
      });
  }

  #held(claim: EffectClaim): Pending | undefined {
    const pending = this.#effects.get(claim.effectId);
    return pending?.token === claim.token ? pending : undefined;
  }

  #claimed(pending: Pending, token: string): ClaimedEffect {
    const { effectId, instanceId, effect, traceparent, attempt } = pending;
    const done = this.#instances.get(`${pending.kind}/${instanceId}`)?.done ?? false;
    return { effectId, token, instanceId, effect: this.#copy(effect), traceparent, attempt, done };
  }
}
