import { Fault, type Clock, type Logger } from '@casvault/contracts';
import { type Machine, type RuntimeEvent, type Step } from './machine.js';
import { backoffMs, retryUnavailable, type RetryPolicy } from './retry.js';
import {
  type Applied,
  type ClaimedEffect,
  type Decide,
  type EffectClaim,
  type MachineStore,
  type SavedStep,
  type StepCause,
} from './store.js';
import { currentTraceparent, effectDurations, inSpan, underTrace } from './trace.js';

export interface PerformContext {
  readonly instanceId: string;
  /** The same in every attempt: the key of idempotency for what the effect does in the world. */
  readonly effectId: string;
  /** From 1. More than one: an earlier attempt may have done its work. */
  readonly attempt: number;
  /** Aborts when the claim is lost or the process drains. */
  readonly signal: AbortSignal;
  readonly now: Date;
}
/** Does an effect, at least once; its result is the machine's next event, null if the machine needs none. */
export type Perform<E, F> = (effect: F, context: PerformContext) => Promise<E | null>;

export interface MachineRuntimeOptions<S, E, F> {
  readonly machine: Machine<S, E | RuntimeEvent<F>, F>;
  readonly store: MachineStore;
  readonly perform: Perform<E, F>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Effects performed at the same time by this process. Memory is bounded by it: that many effects and results. */
  readonly concurrency?: number;
  /** A process that dies leaves its effects for others after this, 10 s by default. Renewed at a third of it. */
  readonly leaseMs?: number;
  /**
   * How long an idle process takes to see what others left: retries, timers, effects of the dead. What this process
   * itself makes due sooner, it sees on time.
   */
  readonly pollMs?: number;
  readonly retry?: RetryPolicy<F>;
  /**
   * Effects of an instance in the same lane keep their order and never overlap. The default is one lane per type of
   * effect: messages of one type don't overtake each other, and a slow effect holds up no other type.
   */
  readonly lane?: (effect: F) => string;
  /** What an operator should know of an instance: logged with its id whenever a step changed it. Default: nothing. */
  readonly story?: (state: S) => object;
}

/** Why a sleep ended: a text, since the stack of an error nobody sees would cost more than the step. */
const awake = 'awake';
const wideAwake = AbortSignal.abort(awake);

const defaults = { concurrency: 16, leaseMs: 10_000, pollMs: 1_000 };
/** Instances woken in one pass, one after the other. */
const timersPerPass = 64;
const forgetMessagesAfterMs = 7 * 24 * 3_600_000;
const forgetEveryMs = 3_600_000;

/**
 * Runs one kind of machine. One transaction saves a step's state, its projection and its effects; the effects are
 * performed afterwards, at least once, and what they return is the next event. So a process may die at any point: the
 * state has moved exactly once for every event, and every effect is performed in the end.
 *
 * Any number of processes may run the same kind over one store. `deliver` works before `start` and after `drain`.
 */
export class MachineRuntime<S, E extends { readonly type: string }, F extends { readonly type: string }> {
  readonly #o: Required<MachineRuntimeOptions<S, E, F>>;
  readonly #active = new Set<Promise<void>>();
  readonly #durations = effectDurations();
  #stopping: AbortController | null = null;
  #abandon = new AbortController();
  #loop: Promise<void> | null = null;
  #kick: () => void = () => undefined;
  /** Times before the next regular look at which something of this process is due. Bound: its steps and retries in `pollMs`. */
  #expected: number[] = [];
  /** When timers that others set are looked for again. */
  #nextTimers = 0;
  #nextForget = 0;

  constructor(options: MachineRuntimeOptions<S, E, F>) {
    const lane = (effect: F) => effect.type;
    this.#o = { ...defaults, retry: retryUnavailable, lane, story: () => ({}), ...options };
  }

  /**
   * Steps the instance and returns its new state once that is durable. With a `messageId` already handled for this
   * instance the state is returned as it is. Throws what `step` throws, and `DEPENDENCY_UNAVAILABLE`.
   */
  async deliver(instanceId: string, event: E, options: { messageId?: string } = {}): Promise<S> {
    const cause = options.messageId === undefined ? {} : { messageId: options.messageId };
    const { state } = await this.#apply(instanceId, event, cause);
    return state as S;
  }

  async read(instanceId: string): Promise<S | null> {
    return (await this.#o.store.read(this.#o.machine.kind, instanceId)) as S | null;
  }

  /** Begins to perform effects and to wake instances; goes on through outages of the store until `drain`. */
  start(): void {
    if (this.#stopping) return;
    this.#stopping = new AbortController();
    this.#abandon = new AbortController();
    this.#loop = this.#run(this.#stopping.signal);
  }

  /**
   * Takes nothing new, waits up to `graceMs` for what is being performed, then aborts it and gives it back, to be
   * performed again by another process.
   */
  async drain(graceMs = 10_000): Promise<void> {
    if (!this.#stopping) return;
    this.#stopping.abort();
    this.#kick();
    await this.#loop;
    const settled = new AbortController();
    const all = this.#allSettled().then(() => settled.abort());
    await this.#o.clock.sleep(graceMs, settled.signal);
    this.#abandon.abort();
    await all;
    this.#stopping = null;
  }

  /** One pass without the loop, for simulators: wakes what is due, performs what is due; true if there was anything. */
  async runDue(): Promise<boolean> {
    const began = (await this.#wakeDue()) + (await this.#claimDue());
    await this.#allSettled();
    return began > 0;
  }

  async #run(stopping: AbortSignal): Promise<void> {
    let failures = 0;
    while (!stopping.aborted) {
      let isKicked = false;
      this.#kick = () => {
        isKicked = true;
      };
      try {
        if (this.#hasTimers()) await this.#wakeDue();
        await this.#claimDue();
        await this.#forget();
        failures = 0;
      } catch (error) {
        failures += 1;
        this.#nextTimers = 0;
        this.#o.logger.warn(
          { err: error, machine: this.#o.machine.kind },
          'machine store failed, trying again',
        );
      }
      const delay = failures > 0 ? backoffMs(failures) : this.#untilNextLook();
      const kicked = failures > 0 ? stopping : isKicked ? wideAwake : this.#untilKicked();
      await this.#o.clock.sleep(delay, kicked);
      // Slept to the end, however early its timer may have rung.
      if (!kicked.aborted) this.#nextTimers = 0;
    }
  }

  #untilKicked(): AbortSignal {
    const kicked = new AbortController();
    this.#kick = () => kicked.abort(awake);
    return kicked.signal;
  }

  #expect(at: number): void {
    const soon = at < this.#o.clock.now().getTime() + this.#o.pollMs;
    if (!this.#stopping || !soon) return;
    this.#expected.push(at);
    this.#kick();
  }

  /** Most passes are for effects that a step has just left: timers are looked for at their time, and now and then. */
  #hasTimers(): boolean {
    const now = this.#o.clock.now().getTime();
    const ahead = this.#expected.filter((at) => at > now);
    const isTime = ahead.length < this.#expected.length || now >= this.#nextTimers;
    this.#expected = ahead;
    if (isTime) this.#nextTimers = now + this.#o.pollMs;
    return isTime;
  }

  #untilNextLook(): number {
    const now = this.#o.clock.now().getTime();
    return Math.max(0, Math.min(now + this.#o.pollMs, ...this.#expected) - now);
  }

  async #wakeDue(): Promise<number> {
    const { store, machine, clock } = this.#o;
    const due = await store.dueTimers(machine.kind, clock.now(), timersPerPass);
    for (const { instanceId, traceparent } of due)
      await underTrace(traceparent, `${machine.kind} woken`, () => this.#wake(instanceId));
    if (due.length === timersPerPass) this.#nextTimers = 0;
    return due.length;
  }

  async #wake(instanceId: string): Promise<void> {
    try {
      await this.#apply(instanceId, { type: 'woken' }, { timer: true });
    } catch (error) {
      if (Fault.from(error).kind === 'unavailable') throw error;
      const fields = { err: error, machine: this.#o.machine.kind, instanceId };
      this.#o.logger.error(fields, 'machine cannot be woken');
    }
  }

  async #claimDue(): Promise<number> {
    const { store, machine, concurrency, leaseMs } = this.#o;
    const free = concurrency - this.#active.size;
    if (free <= 0) return 0;
    const claimed = await store.claim(machine.kind, free, leaseMs);
    for (const effect of claimed) {
      const work = underTrace(effect.traceparent, null, () => this.#carryOut(effect)).finally(() => {
        const wasFull = this.#active.size >= concurrency;
        this.#active.delete(work);
        if (wasFull) this.#kick();
      });
      this.#active.add(work);
    }
    // There may be more, and a place was left in the meantime.
    if (claimed.length === free && this.#active.size < concurrency) this.#kick();
    return claimed.length;
  }

  async #forget(): Promise<void> {
    const now = this.#o.clock.now().getTime();
    if (now < this.#nextForget) return;
    this.#nextForget = now + forgetEveryMs;
    await this.#o.store.forgetMessages(new Date(now - forgetMessagesAfterMs));
  }

  /** Performs a claimed effect and settles it. Never rejects: what can't be settled now, is claimed again later. */
  async #carryOut(claimed: ClaimedEffect): Promise<void> {
    const over = new AbortController();
    const lost = new AbortController();
    const renewing = this.#renew(claimed, over.signal, lost);
    const signal = AbortSignal.any([lost.signal, this.#abandon.signal]);
    try {
      const outcome = await this.#attempt(claimed, signal);
      if (!lost.signal.aborted) await this.#settle(claimed, outcome, lost.signal);
    } catch (error) {
      const { effectId, instanceId } = claimed;
      const fields = { err: error, machine: this.#o.machine.kind, instanceId, effectId };
      this.#o.logger.warn(fields, 'effect not settled, it is performed again');
    } finally {
      over.abort(awake);
      await renewing;
    }
  }

  async #attempt(
    claimed: ClaimedEffect,
    signal: AbortSignal,
  ): Promise<{ event: E | null } | { fault: Fault }> {
    const { perform, clock, machine } = this.#o;
    const { instanceId, effectId, attempt } = claimed;
    const effect = claimed.effect as F;
    const began = clock.now();
    const context = { instanceId, effectId, attempt, signal, now: began };
    const record = (outcome: string) => {
      const seconds = (clock.now().getTime() - began.getTime()) / 1_000;
      this.#durations.record(seconds, { machine: machine.kind, effect: effect.type, outcome });
    };
    try {
      const name = `${machine.kind} ${effect.type}`;
      const event = await inSpan(name, () => perform(effect, context));
      record('ok');
      return { event };
    } catch (error) {
      const fault = Fault.from(error);
      record(fault.code);
      return { fault };
    }
  }

  async #settle(
    claimed: ClaimedEffect,
    outcome: { event: E | null } | { fault: Fault },
    lost: AbortSignal,
  ): Promise<void> {
    if ('event' in outcome) return this.#complete(claimed, outcome.event, lost);
    const effect = claimed.effect as F;
    const { fault } = outcome;
    const { instanceId, effectId, attempt } = claimed;
    const fields = { err: fault, instanceId, effectId, effect: effect.type, attempt };
    if (this.#abandon.signal.aborted) return this.#o.store.release(claimed, 0);
    const delay = this.#o.retry(effect, { fault, attempt, done: claimed.done });
    if (delay !== null) {
      this.#o.logger.warn({ ...fields, delayMs: delay }, 'effect failed, trying again');
      await this.#o.store.release(claimed, delay);
      this.#expect(this.#o.clock.now().getTime() + delay);
      return;
    }
    const level = fault.kind === 'bug' || fault.kind === 'corrupt' ? 'error' : 'info';
    this.#o.logger[level](fields, 'effect failed');
    return this.#complete(claimed, { type: 'effectFailed', effect, fault: fault.toJSON() }, lost);
  }

  /** The result is held until the store takes it, or the claim is lost, or the process drains. */
  async #complete(claim: ClaimedEffect, event: E | RuntimeEvent<F> | null, lost: AbortSignal): Promise<void> {
    for (let failures = 1; ; failures++)
      try {
        if (event === null) await this.#end(claim);
        else await this.#apply(claim.instanceId, event, { completes: claim });
        return;
      } catch (error) {
        const giveUp = AbortSignal.any([lost, this.#abandon.signal]);
        if (Fault.from(error).kind !== 'unavailable' || giveUp.aborted) throw error;
        await this.#o.clock.sleep(backoffMs(failures), giveUp);
      }
  }

  /** Only what comes after it in its lane is worth a look; what is added to the lane in the same moment is found by the next one. */
  async #end({ effectId, token }: ClaimedEffect): Promise<void> {
    const settled = await this.#o.store.settle({ effectId, token });
    if (settled?.isFollowed) this.#kick();
  }

  async #apply(instanceId: string, event: E | RuntimeEvent<F>, cause: StepCause): Promise<Applied> {
    const { store, machine, clock } = this.#o;
    const now = clock.now();
    const traceparent = currentTraceparent();
    let before: S | null = null;
    let wakeAt: Date | null = null;
    let hasEffects = false;
    const decide: Decide = (state, version) => {
      before = state as S | null;
      const saved = this.#saved(instanceId, version, machine.step(before, event, now), traceparent);
      ({ wakeAt } = saved);
      hasEffects = saved.effects.length > 0;
      return saved;
    };
    const applied = await store.apply(machine.kind, instanceId, cause, decide, now);
    if (wakeAt !== null) this.#expect((wakeAt as Date).getTime());
    if (hasEffects || cause.completes) this.#kick();
    if (applied.outcome === 'stepped') this.#tell(instanceId, before, applied.state as S);
    return applied;
  }

  #tell(instanceId: string, before: S | null, after: S): void {
    const { machine, story, logger } = this.#o;
    const told = story(after);
    if (JSON.stringify(told) === JSON.stringify(before === null ? {} : story(before))) return;
    logger.info({ machine: machine.kind, instanceId, ...told }, `${machine.kind} changed`);
  }

  #saved(instanceId: string, version: number, step: Step<S, F>, traceparent: string | null): SavedStep {
    const effects = step.effects.map((effect, index) => ({
      effectId: `${this.#o.machine.kind}.${instanceId}.${version}.${index}`,
      effect,
      lane: this.#o.lane(effect),
      traceparent,
    }));
    const { state, done } = step;
    return { state, traceparent, effects, wakeAt: done ? null : step.wakeAt, done };
  }

  async #renew(claim: EffectClaim, over: AbortSignal, lost: AbortController): Promise<void> {
    const { store, clock, leaseMs, logger } = this.#o;
    for (;;) {
      await clock.sleep(leaseMs / 3, over);
      if (over.aborted) return;
      try {
        if (!(await store.renew(claim, leaseMs))) return lost.abort();
      } catch (error) {
        logger.warn({ err: error, effectId: claim.effectId }, 'claim not renewed');
      }
    }
  }

  async #allSettled(): Promise<void> {
    while (this.#active.size > 0) await Promise.allSettled([...this.#active]);
  }
}
