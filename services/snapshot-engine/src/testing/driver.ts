import { type FaultJson } from '@casvault/contracts';
import { type EffectFailed, type Machine, type Woken } from '@casvault/machine';

interface Pending<F> {
  readonly effect: F;
  readonly seq: number;
}

/** One instance of a machine under a clock of its own; its effects wait until they are performed. */
export class Driver<S, E extends { readonly type: string }, F extends { readonly type: string }> {
  now = new Date('2026-01-01T00:00:00Z');
  state: S | null = null;
  wakeAt: Date | null = null;
  done = false;
  pending: Pending<F>[] = [];
  /** Every effect ever decided. */
  readonly effects: F[] = [];
  readonly #machine: Machine<S, E | Woken | EffectFailed<F>, F>;

  constructor(machine: Machine<S, E | Woken | EffectFailed<F>, F>) {
    this.#machine = machine;
  }

  send(event: E | Woken | EffectFailed<F>): S {
    const step = this.#machine.step(this.state, event, this.now);
    this.state = JSON.parse(JSON.stringify(step.state)) as S;
    this.wakeAt = step.done ? null : step.wakeAt;
    this.done = step.done;
    for (const effect of step.effects) {
      this.pending.push({ effect, seq: this.effects.length });
      this.effects.push(effect);
    }
    return this.state;
  }
  get present(): S {
    if (this.state === null) throw new Error('not begun');
    return this.state;
  }
  of<T extends F['type']>(type: T): Extract<F, { type: T }>[] {
    return this.effects.filter((effect): effect is Extract<F, { type: T }> => effect.type === type);
  }
  pass(ms: number): void {
    this.now = new Date(this.now.getTime() + ms);
  }
  wakeIfDue(): void {
    if (this.wakeAt && this.wakeAt <= this.now) this.send({ type: 'woken' });
  }
  /** The effects that the runtime may perform now: the first of each type. */
  performable(): Pending<F>[] {
    const seen = new Set<string>();
    return this.pending.filter(({ effect }) => !seen.has(effect.type) && seen.add(effect.type));
  }
  /** The effect was performed; `event` is its result. */
  settle(done: Pending<F>, event: E | null): void {
    this.pending = this.pending.filter(({ seq }) => seq !== done.seq);
    if (event) this.send(event);
  }
  giveUp(failed: Pending<F>, fault: FaultJson): void {
    this.pending = this.pending.filter(({ seq }) => seq !== failed.seq);
    this.send({ type: 'effectFailed', effect: failed.effect, fault });
  }
}
