import { Fault } from '@casvault/contracts';
import {
  type Applied,
  type ClaimedEffect,
  type Decide,
  type DueTimer,
  type EffectClaim,
  type MachineStore,
  type Settled,
  type StepCause,
} from '../store.js';

/** What becomes of one call: done; lost on its way there; done, but its answer lost. */
export type Fate = 'done' | 'lost' | 'answer lost';

/** A store whose calls fail as `fate` says, with DEPENDENCY_UNAVAILABLE: for crash tests and simulators. */
export class FaultyMachineStore implements MachineStore {
  readonly #inner: MachineStore;
  readonly #fate: (call: string) => Fate;

  constructor(inner: MachineStore, fate: (call: string) => Fate) {
    this.#inner = inner;
    this.#fate = fate;
  }

  apply(kind: string, id: string, cause: StepCause, decide: Decide, now: Date): Promise<Applied> {
    return this.#call('apply', () => this.#inner.apply(kind, id, cause, decide, now));
  }
  settle(claim: EffectClaim): Promise<Settled | null> {
    return this.#call('settle', () => this.#inner.settle(claim));
  }
  read(kind: string, id: string): Promise<unknown> {
    return this.#call('read', () => this.#inner.read(kind, id));
  }
  dueTimers(kind: string, now: Date, limit: number): Promise<readonly DueTimer[]> {
    return this.#call('dueTimers', () => this.#inner.dueTimers(kind, now, limit));
  }
  claim(kind: string, limit: number, leaseMs: number): Promise<readonly ClaimedEffect[]> {
    return this.#call('claim', () => this.#inner.claim(kind, limit, leaseMs));
  }
  renew(claim: EffectClaim, leaseMs: number): Promise<boolean> {
    return this.#call('renew', () => this.#inner.renew(claim, leaseMs));
  }
  release(claim: EffectClaim, delayMs: number): Promise<void> {
    return this.#call('release', () => this.#inner.release(claim, delayMs));
  }
  forgetMessages(before: Date): Promise<void> {
    return this.#call('forgetMessages', () => this.#inner.forgetMessages(before));
  }

  async #call<T>(name: string, work: () => Promise<T>): Promise<T> {
    const fate = this.#fate(name);
    if (fate === 'lost') throw new Fault('DEPENDENCY_UNAVAILABLE', `${name} was lost`);
    const result = await work();
    if (fate === 'answer lost') throw new Fault('DEPENDENCY_UNAVAILABLE', `the answer of ${name} was lost`);
    return result;
  }
}
