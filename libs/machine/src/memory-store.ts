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
  type Settled,
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
  /** Effects of one queue are performed one after the other. */
  readonly queue: string;
  token: string | null;
  attempt: number;
  /** Expiry of the claim while there is one, else the earliest time of the next attempt. */
  dueAt: number;
}

/** The earliest instants at which a timer and an effect are due; `Infinity`: none. */
interface Due {
  readonly timer: number;
  readonly effect: number;
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
  /** By kind and id. */
  readonly #instances = new Map<string, Map<string, Instance>>();
  readonly #effects = new Map<string, Pending>();
  readonly #handled = new Map<string, number>();
  #tokens = 0;
  /** Null: something has changed since it was looked up. Most looks of a simulated process find nothing. */
  #due: Due | null = null;

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
    const before = this.#instance(kind, instanceId);
    const refused = this.#refusal(key, before, cause, now);
    if (refused) return { outcome: refused, state: this.#copy(before?.state) };
    const version = before?.version ?? 0;
    const saved = decide(this.#copy(before?.state), version);
    const state = this.#copy(saved.state);
    this.#project({ kind, id: instanceId, before: before?.state ?? null, after: state, now });
    if (cause.messageId !== undefined) this.#handled.set(`${key}/${cause.messageId}`, now.getTime());
    if (cause.completes) this.#effects.delete(cause.completes.effectId);
    this.#due = null;
    this.#save(kind, instanceId, version + 1, saved);
    return { outcome: 'stepped', state };
  }

  async settle(claim: EffectClaim): Promise<Settled | null> {
    const settled = this.#held(claim);
    if (!settled) return null;
    this.#effects.delete(claim.effectId);
    this.#due = null;
    for (const { queue } of this.#effects.values()) if (queue === settled.queue) return { isFollowed: true };
    return { isFollowed: false };
  }

  async read(kind: string, instanceId: string): Promise<unknown> {
    return this.#copy(this.#instance(kind, instanceId)?.state);
  }

  async dueTimers(kind: string, now: Date, limit: number): Promise<readonly DueTimer[]> {
    const due: DueTimer[] = [];
    if (this.#nextOf().timer > now.getTime()) return due;
    for (const [instanceId, { wakeAt, traceparent }] of this.#instances.get(kind) ?? []) {
      if (due.length === limit) break;
      if (wakeAt !== null && wakeAt <= now.getTime()) due.push({ instanceId, traceparent });
    }
    return due;
  }

  async claim(kind: string, limit: number, leaseMs: number): Promise<readonly ClaimedEffect[]> {
    const now = this.#clock.now().getTime();
    const claimed: ClaimedEffect[] = [];
    if (this.#nextOf().effect > now) return claimed;
    for (const pending of this.#first()) {
      if (claimed.length === limit) break;
      if (pending.kind !== kind || pending.dueAt > now) continue;
      pending.token = `claim-${++this.#tokens}`;
      pending.attempt += 1;
      pending.dueAt = now + leaseMs;
      claimed.push(this.#claimed(pending, pending.token));
      this.#due = null;
    }
    return claimed;
  }

  async renew(claim: EffectClaim, leaseMs: number): Promise<boolean> {
    const pending = this.#held(claim);
    if (pending) this.#postpone(pending, leaseMs);
    return pending !== undefined;
  }

  async release(claim: EffectClaim, delayMs: number): Promise<void> {
    const pending = this.#held(claim);
    if (!pending) return;
    pending.token = null;
    this.#postpone(pending, delayMs);
  }

  async forgetMessages(before: Date): Promise<void> {
    for (const [key, at] of this.#handled) if (at < before.getTime()) this.#handled.delete(key);
  }

  /**
   * The first instant by the store's clock at which a pass could find something to do, null if never; for simulators, which
   * need not poll. A timer is due when the clock of whoever asks, `aheadMs` ahead of the store's, has come to it.
   */
  nextDue(aheadMs: number): number | null {
    const { timer, effect } = this.#nextOf();
    const next = Math.min(timer - aheadMs, effect);
    return next === Infinity ? null : next;
  }

  #nextOf(): Due {
    return (this.#due ??= this.#lookedUp());
  }

  #lookedUp(): Due {
    let timer = Infinity;
    for (const ofKind of this.#instances.values())
      for (const { wakeAt } of ofKind.values()) if (wakeAt !== null && wakeAt < timer) timer = wakeAt;
    let effect = Infinity;
    for (const { dueAt } of this.#first()) if (dueAt < effect) effect = dueAt;
    return { timer, effect };
  }

  /** Of every queue its first. */
  #first(): readonly Pending[] {
    const queues = new Set<string>();
    const first: Pending[] = [];
    for (const pending of this.#effects.values()) {
      if (queues.has(pending.queue)) continue;
      queues.add(pending.queue);
      first.push(pending);
    }
    return first;
  }

  #postpone(pending: Pending, ms: number): void {
    pending.dueAt = this.#clock.now().getTime() + ms;
    this.#due = null;
  }

  #instance(kind: string, id: string): Instance | undefined {
    return this.#instances.get(kind)?.get(id);
  }

  #refusal(key: string, instance: Instance | undefined, cause: StepCause, now: Date) {
    if (cause.messageId !== undefined && this.#handled.has(`${key}/${cause.messageId}`)) return 'duplicate';
    if (cause.completes && !this.#held(cause.completes)) return 'superseded';
    const wakeAt = instance?.wakeAt ?? null;
    if (cause.timer && (wakeAt === null || wakeAt > now.getTime())) return 'superseded';
    return undefined;
  }

  #save(kind: string, instanceId: string, version: number, saved: SavedStep): void {
    const ofKind = this.#instances.get(kind) ?? new Map<string, Instance>();
    this.#instances.set(kind, ofKind);
    ofKind.set(instanceId, {
      state: this.#copy(saved.state),
      version,
      traceparent: ofKind.get(instanceId)?.traceparent ?? saved.traceparent,
      wakeAt: saved.done ? null : (saved.wakeAt?.getTime() ?? null),
      done: saved.done,
    });
    for (const effect of saved.effects)
      this.#effects.set(effect.effectId, {
        ...effect,
        effect: this.#copy(effect.effect),
        kind,
        instanceId,
        queue: `${kind}/${instanceId}/${effect.lane}`,
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
    const done = this.#instance(pending.kind, instanceId)?.done ?? false;
    return { effectId, token, instanceId, effect: this.#copy(effect), traceparent, attempt, done };
  }
}
