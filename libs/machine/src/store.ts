/** Which event is being applied, and what it settles. At most one of the three marks is set. */
export interface StepCause {
  /** Applied once per instance and message id; a repetition is `duplicate`. */
  readonly messageId?: string;
  /** The event is this effect's outcome: the effect ends in the same transaction, if the claim still holds. */
  readonly completes?: EffectClaim;
  /** The event is `woken`: applied only while the instance's timer is still due. */
  readonly timer?: true;
}

/** A right to perform one effect for a while. Another claimer after its expiry gets another `token`. */
export interface EffectClaim {
  readonly effectId: string;
  readonly token: string;
}

export interface ClaimedEffect extends EffectClaim {
  readonly instanceId: string;
  readonly effect: unknown;
  readonly traceparent: string | null;
  /** From 1. */
  readonly attempt: number;
  /** Whether the instance is done. */
  readonly done: boolean;
}

export interface NewEffect {
  readonly effectId: string;
  readonly effect: unknown;
  /** Effects of one instance in the same lane are performed one after the other, in the order of their steps. */
  readonly lane: string;
  readonly traceparent: string | null;
}

export interface SavedStep {
  readonly state: unknown;
  /** The trace that the step belongs to. An instance keeps the first one that is not null: its timers go on in it. */
  readonly traceparent: string | null;
  readonly effects: readonly NewEffect[];
  readonly wakeAt: Date | null;
  readonly done: boolean;
}

/**
 * The step, decided under the instance's lock. `version` counts the steps before it, so that the ids of its effects
 * follow from it.
 */
export type Decide = (state: unknown, version: number) => SavedStep;

/**
 * `stepped`: saved. `duplicate`: the message id was handled before. `superseded`: the claim or the timer no longer holds.
 * Nothing is changed by the latter two. `state` is the present one.
 */
export interface Applied {
  readonly outcome: 'stepped' | 'duplicate' | 'superseded';
  readonly state: unknown;
}

/** An instance to be woken. */
export interface DueTimer {
  readonly instanceId: string;
  /** Of the trace that the instance was begun in. */
  readonly traceparent: string | null;
}

export interface Settled {
  /** An effect that comes after it in its lane was there when it ended. */
  readonly isFollowed: boolean;
}

/**
 * Where machines live. Promises that every adapter keeps (the conformance suite in `testing` proves them):
 *
 * - `apply` is one transaction holding the instance alone: two appliers of one instance never overlap, in any process.
 *   When `decide` throws, or the adapter fails before its commit, nothing has changed. After a failure the caller can't
 *   know whether the commit took place: applying again with the same cause gives `duplicate` or `superseded` if so.
 * - An effect exists from the step that decided it until an `apply` that completes it; it has at most one valid claim: one
 *   not renewed for `leaseMs` may be taken over, and is lost from then on.
 * - Leases and delays are durations measured by the store's own clock, so that processes' clocks don't matter.
 * - Values go through JSON: what is read is never shared with what was written.
 * - Faults of the medium are `DEPENDENCY_UNAVAILABLE`.
 */
export interface MachineStore {
  apply(kind: string, instanceId: string, cause: StepCause, decide: Decide, now: Date): Promise<Applied>;
  /** Ends an effect of which no event comes; its instance is neither read nor held. Null: the claim is lost. */
  settle(claim: EffectClaim): Promise<Settled | null>;
  /** The state, or null if there is no such instance. */
  read(kind: string, instanceId: string): Promise<unknown>;
  /** Instances whose timer is due at `now`; may contain some that another process is just waking. */
  dueTimers(kind: string, now: Date, limit: number): Promise<readonly DueTimer[]>;
  /** Claims up to `limit` effects that are due, not claimed, and first in their lane; oldest first. */
  claim(kind: string, limit: number, leaseMs: number): Promise<readonly ClaimedEffect[]>;
  /** Extends a claim. False: it is lost. */
  renew(claim: EffectClaim, leaseMs: number): Promise<boolean>;
  /** Gives the claim back; the effect is due again after `delayMs`. Nothing happens if it is lost. */
  release(claim: EffectClaim, delayMs: number): Promise<void>;
  /** Forgets message ids handled before `before`. */
  forgetMessages(before: Date): Promise<void>;
}
