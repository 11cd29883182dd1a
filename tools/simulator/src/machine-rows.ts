import { type Clock } from '@casvault/contracts';
import { MemoryMachineStore, type MachineStore, type MemoryMachineStoreOptions } from '@casvault/machine';
import { type Edge, type SimProcess } from './process.js';
import { type Alarm } from './virtual-time.js';
import { type World } from './world.js';

interface Parked {
  readonly process: SimProcess;
  readonly earliest: number;
  readonly alarm: Alarm;
}

const edge = (name: string): Edge => ({ name, fault: 'store', code: 'DEPENDENCY_UNAVAILABLE' });
const epoch = Date.parse('2026-01-01T00:00:00Z');

/** The machines of one service: what its database keeps when its processes die, and what wakes their idle loops. */
export class MachineRows {
  readonly store: MemoryMachineStore;
  readonly #world: World;
  readonly #parked = new Set<Parked>();
  #isArming = false;

  constructor(world: World, project: MemoryMachineStoreOptions['project']) {
    this.#world = world;
    const clock: Clock = {
      now: () => new Date(epoch + world.time.now),
      sleep: () => Promise.reject(new TypeError('a store does not sleep')),
    };
    this.store = new MemoryMachineStore(clock, { shares: true, ...(project ? { project } : {}) });
  }

  /** The store as one process reaches it. */
  of(process: SimProcess): MachineStore {
    const { store } = this;
    process.park = (earliest, wake) => this.#park(process, earliest, wake);
    const reach = <T>(name: string, deed: () => Promise<T>): Promise<T> =>
      process.call(edge(name), async () => {
        const result = await deed();
        this.#arm();
        return result;
      });
    return {
      apply: (kind, id, cause, decide, now) =>
        reach(`apply ${kind}`, () => store.apply(kind, id, cause, decide, now)),
      settle: (claim) => reach('settle effect', () => store.settle(claim)),
      read: (kind, id) => process.call(edge(`read ${kind}`), () => store.read(kind, id)),
      dueTimers: (kind, now, limit) => store.dueTimers(kind, now, limit),
      claim: (kind, limit, leaseMs) => store.claim(kind, limit, leaseMs),
      renew: (claim, leaseMs) => reach('renew effect', () => store.renew(claim, leaseMs)),
      release: (claim, delayMs) => reach('release effect', () => store.release(claim, delayMs)),
      forgetMessages: (before) => store.forgetMessages(before),
    };
  }

  #park(process: SimProcess, earliest: number, wake: () => void): () => void {
    const alarm = this.#world.time.alarm(() => {
      this.#parked.delete(parked);
      wake();
    });
    const parked: Parked = { process, earliest, alarm };
    this.#parked.add(parked);
    this.#arm();
    return () => {
      alarm.clear();
      this.#parked.delete(parked);
    };
  }

  /** Sets the alarms anew once what happens now has happened. */
  #arm(): void {
    if (this.#isArming) return;
    this.#isArming = true;
    this.#world.time.after(0, () => {
      this.#isArming = false;
      for (const parked of this.#parked) this.#armOne(parked);
    });
  }

  #armOne(parked: Parked): void {
    const { process, earliest, alarm } = parked;
    const due = process.isAlive ? this.store.nextDue(process.aheadMs) : null;
    if (due === null) alarm.clear();
    else alarm.set(Math.max(earliest, due - epoch));
    if (!process.isAlive) this.#parked.delete(parked);
  }
}
