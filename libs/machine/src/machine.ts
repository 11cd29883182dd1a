import { type FaultJson } from '@casvault/contracts';

/**
 * What one step decided: the new state, what is to be done in the world, and when to look again.
 * `wakeAt` replaces the instance's timer (null: none). `done` stops the timer; effects already decided still run.
 */
export interface Step<S, F> {
  readonly state: S;
  readonly effects: readonly F[];
  readonly wakeAt: Date | null;
  readonly done: boolean;
}

/**
 * A durable machine as one pure function: no clock, no randomness, no I/O. `S`, `E` and `F` are plain JSON; events and
 * effects are unions told apart by `type`. A state of null means: not yet begun.
 * Every event may come twice or late (a repeated effect, an old timer): the state decides what it still means.
 */
export interface Machine<S, E, F> {
  /** Names the machine in the store; instances are told apart by `kind` and id. */
  readonly kind: string;
  step(state: S | null, event: E, now: Date): Step<S, F>;
}

/** The instance's `wakeAt` has come. */
export interface Woken {
  readonly type: 'woken';
}
/** An effect was given up: its performer failed, and the retry policy said no. */
export interface EffectFailed<F> {
  readonly type: 'effectFailed';
  readonly effect: F;
  readonly fault: FaultJson;
}
/** Events that the runtime itself makes: every machine's `E` includes them. */
export type RuntimeEvent<F> = Woken | EffectFailed<F>;
