import { Fault, type RunDetail, type RunId } from '@casvault/contracts';

export type RunListener = (run: RunDetail) => void;

/** Hands each change of a run to those who follow it. Memory: listeners x a map entry; at most `maxListeners`. */
export class RunFeed {
  private readonly listeners = new Map<RunId, Set<RunListener>>();
  private count = 0;

  constructor(private readonly maxListeners = 2_000) {}

  get size(): number {
    return this.count;
  }

  /** Returns what ends it. Refused with DEPENDENCY_UNAVAILABLE beyond the limit. */
  follow(runId: RunId, listener: RunListener): () => void {
    if (this.count >= this.maxListeners)
      throw new Fault('DEPENDENCY_UNAVAILABLE', `this gateway already has ${this.count} open event streams`);
    const followers = this.listeners.get(runId) ?? new Set();
    this.listeners.set(runId, followers.add(listener));
    this.count += 1;
    return () => {
      if (!followers.delete(listener)) return;
      this.count -= 1;
      if (followers.size === 0) this.listeners.delete(runId);
    };
  }

  publish(run: RunDetail): void {
    this.listeners.get(run.id)?.forEach((listener) => listener(run));
  }
}
