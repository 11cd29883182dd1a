import { Fault, type Clock, type FaultCode } from '@casvault/contracts';
import { type World } from './world.js';

/** Of an installation that began then. */
const epoch = Date.parse('2026-01-01T00:00:00Z');

export interface Edge {
  /** For the trace. */
  readonly name: string;
  readonly fault: 'store' | 'requests' | 'platform' | 'pool';
  /** What a lost call or answer looks like, after how long. */
  readonly code: FaultCode;
  readonly timeoutMs?: number;
}

const never = <T>(): Promise<T> => new Promise(() => undefined);

/**
 * One life of one process. Everything that it does to the world goes through `call`: there it can die before or after the
 * deed, be paused, or lose the answer. A dead process does nothing any more: its promises never settle.
 */
export class SimProcess {
  isAlive = true;
  readonly clock: Clock;
  /** What its idle loop waits for instead of polling. */
  park: ((earliest: number, wake: () => void) => () => void) | null = null;
  #pausedUntil = 0;

  constructor(
    readonly world: World,
    readonly name: string,
    /** How far its wall clock is ahead. */
    readonly aheadMs: number,
    readonly onDeath: () => void,
  ) {
    this.clock = {
      now: () => new Date(epoch + this.world.time.now + this.aheadMs),
      sleep: (ms, signal) => this.#sleep(ms, signal),
    };
  }

  readonly monotonic = (): number => this.world.time.now;

  /** Runs it in this process: now, or when it wakes from its pause; never if it is dead. */
  enter(run: () => void): void {
    if (!this.isAlive) return;
    const { time } = this.world;
    if (this.#pausedUntil <= time.now) return run();
    time.at(this.#pausedUntil, () => this.enter(run));
  }

  kill(why: string): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    this.world.trace(this.name, `dies ${why}`);
    this.onDeath();
  }

  pause(ms: number): void {
    this.#pausedUntil = Math.max(this.#pausedUntil, this.world.time.now + ms);
    this.world.trace(this.name, `is paused for ${ms} ms`);
  }

  /** The pause ends when the faults do. */
  wake(): void {
    this.#pausedUntil = Math.min(this.#pausedUntil, this.world.time.now);
  }

  /** Does `deed` in the world, once at most, and returns its answer. */
  async call<T>(edge: Edge, deed: () => T | Promise<T>): Promise<T> {
    const { faults } = this.world;
    await this.#leave(edge);
    const strikes = faults.strikes(edge.fault);
    if (strikes && faults.of(edge.fault).chance(0.5)) return this.#lose(edge, 'lost');
    const answer = await deed();
    if (!this.isAlive) return never();
    if (faults.strikes('crash')) {
      this.kill(`after ${edge.name}`);
      return never();
    }
    if (strikes) return this.#lose(edge, 'answer lost');
    await this.travel();
    return answer;
  }

  /** A message's way, mostly none at all. */
  async travel(): Promise<void> {
    const { random, time } = this.world;
    const isPaused = this.#pausedUntil > time.now;
    if (!isPaused && random.chance(0.7)) return;
    await new Promise<void>((resolve) => {
      time.after(random.whole(0, 20), () => this.enter(resolve));
    });
  }

  async #leave(edge: Edge): Promise<void> {
    const { faults } = this.world;
    if (!this.isAlive) return never();
    if (faults.strikes('crash')) {
      this.kill(`before ${edge.name}`);
      return never();
    }
    if (faults.strikes('stalls')) this.pause(faults.of('stalls').pick([2_000, 20_000, 130_000]));
    return this.travel();
  }

  async #lose<T>({ name, code, timeoutMs = 50 }: Edge, how: string): Promise<T> {
    this.world.trace(this.name, `${name}: ${how}`);
    await new Promise<void>((resolve) => {
      this.world.time.after(timeoutMs, () => this.enter(resolve));
    });
    throw new Fault(code, `${name}: ${how}`);
  }

  #sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const { time } = this.world;
      const over = () => {
        signal?.removeEventListener('abort', aborted);
        this.enter(resolve);
      };
      const aborted = () => {
        cancel();
        signal?.removeEventListener('abort', aborted);
        resolve();
      };
      signal?.addEventListener('abort', aborted);
      // The idle loop of a machine runtime polls so often; polls that would find nothing are left out.
      const cancel = ms === 1_000 && this.park ? this.park(time.now + ms, over) : time.after(ms, over);
    });
  }
}
