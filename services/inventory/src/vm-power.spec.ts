import { type CasClient, type CasVmRow } from '@casvault/cas-client';
import { Fault, newId, type PlatformId, type RunItemId, type VmId } from '@casvault/contracts';
import { TestLogger } from '@casvault/testkit';
import { type RegisteredPlatform } from './platform.js';
import { type Shutdown } from './shutdown.js';
import { VmPower } from './vm-power.js';

const nothingEnds = { tell: async () => undefined, isOver: async () => false };

/** A guest that is down so long after it was asked, and time that passes only while somebody sleeps. */
class SlowGuest {
  now = Date.parse('2026-01-01T00:00:00Z');
  asked: number[] = [];
  stored: Shutdown | null = null;
  /** The CVM is not to be reached for the next calls. */
  silent = 0;

  constructor(private readonly takesMs: number) {}

  readonly #sleepers = new Set<{ readonly at: number; readonly wake: () => void }>();
  readonly clock = {
    now: () => new Date(this.now),
    sleep: (ms: number, signal?: AbortSignal) =>
      new Promise<void>((resolve) => {
        if (signal?.aborted) return resolve();
        const wake = () => {
          this.#sleepers.delete(sleeper);
          resolve();
        };
        const sleeper = { at: this.now + ms, wake };
        this.#sleepers.add(sleeper);
        signal?.addEventListener('abort', wake, { once: true });
      }),
  };

  /** Lets time pass until it is over. */
  async during<T>(call: Promise<T>): Promise<T> {
    const end = { isOver: false };
    const over = () => (end.isOver = true);
    void call.then(over, over);
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (end.isOver) return call;
      const [next] = [...this.#sleepers].sort((a, b) => a.at - b.at);
      if (!next) throw new TypeError('nobody sleeps, and nothing ends');
      this.now = next.at;
      next.wake();
    }
  }

  power(): VmPower {
    const row = () => {
      const [first] = this.asked;
      const isDown = first !== undefined && this.now >= first + this.takesMs;
      return {
        uuid: 'u',
        name: 'vm',
        externalId: '1',
        powerState: isDown ? 'stopped' : 'running',
      } as CasVmRow;
    };
    const client = {
      stopVm: async () => {
        if (this.silent-- > 0) throw new Fault('PLATFORM_UNREACHABLE', 'no answer');
        this.asked.push(this.now);
      },
      vmByUuid: async () => row(),
    } as unknown as CasClient;
    const platform = { id: newId<PlatformId>() } as RegisteredPlatform;
    return new VmPower({
      vms: { with: (_id, _signal, work) => work({ client, platform, row: row() }) },
      shutdowns: {
        find: async () => this.stored,
        save: async (shutdown) => {
          this.stored = shutdown;
        },
        end: () => Promise.reject(new Error('nothing is given back here')),
        leaveOff: () => Promise.reject(new Error('nothing is left off here')),
        handOver: () => Promise.reject(new Error('nothing is started here')),
      },
      ended: nothingEnds,
      clock: this.clock,
      logger: new TestLogger(),
    });
  }
}

describe('F8: a VM that was found off', () => {
  it('is started when another leaves the start to its item at the moment it is given back', async () => {
    const [itemId, vmId] = [newId<RunItemId>(), newId<VmId>()];
    const platform = { id: newId<PlatformId>() } as RegisteredPlatform;
    const row = { uuid: 'u', name: 'vm', externalId: '1', powerState: 'stopped' } as CasVmRow;
    const started: string[] = [];
    const client = { startVm: async (id: string) => void started.push(id) } as unknown as CasClient;
    const told: RunItemId[] = [];
    let stored: Shutdown = {
      itemId,
      vmId,
      platformId: platform.id,
      state: 'down',
      wasRunning: false,
      askedAt: new Date(0),
    };
    const power = new VmPower({
      vms: { with: (_id, _signal, work) => work({ client, platform, row }) },
      shutdowns: {
        find: async () => stored,
        save: async (shutdown) => {
          stored = { ...shutdown, wasRunning: stored.wasRunning };
        },
        end: async ({ wasRunning }) => {
          // Another item gives it back between the reading and this.
          stored = { ...stored, wasRunning: true };
          return wasRunning;
        },
        leaveOff: () => Promise.reject(new Error('nothing is left off here')),
        handOver: async () => false,
      },
      ended: { ...nothingEnds, tell: async (_platform, id) => void told.push(id) },
      clock: { now: () => new Date(0), sleep: async () => undefined },
      logger: new TestLogger(),
    });
    expect(await power.start(itemId, vmId, new AbortController().signal)).toBe('started');
    expect([started, stored.state, told]).toEqual([['1'], 'ended', [itemId]]);
  });
});

describe('R6, G2: a safe shutdown', () => {
  const request = { itemId: newId<RunItemId>(), vmId: newId<VmId>(), withinSeconds: 100 };
  const { signal } = new AbortController();
  const codes = async (guest: SlowGuest, calls: number): Promise<string[]> => {
    const found: string[] = [];
    for (let i = 0; i < calls; i += 1) {
      const power = guest.power(); // each call meets another process
      const call = power.shutDown(request, signal).then(
        ({ wasRunning }) => `wasRunning ${String(wasRunning)}`,
        (error: unknown) => Fault.from(error).code,
      );
      found.push(await guest.during(call));
    }
    return found;
  };

  it('answers in turns of 40 s, and says at the end that it ran', async () => {
    const guest = new SlowGuest(70_000);
    expect(await codes(guest, 3)).toEqual(['PLATFORM_BUSY', 'wasRunning true', 'wasRunning true']);
    expect(guest.asked.map((at) => at - (guest.asked[0] ?? 0))).toEqual([0, 30_000, 40_000]);
    expect(guest.stored?.state).toBe('down');
  });
  it('gives up once its time is over, counted from the first call, and stays with that', async () => {
    const guest = new SlowGuest(Infinity);
    const began = guest.now;
    expect(await codes(guest, 3)).toEqual(['PLATFORM_BUSY', 'PLATFORM_BUSY', 'VM_STATE_REFUSED']);
    expect(guest.now - began).toBe(100_000);
    expect(await codes(guest, 1)).toEqual(['VM_STATE_REFUSED']);
    expect([guest.now - began, guest.stored?.state]).toEqual([100_000, 'refused']);
  });
  it('asks again when the platform did not answer', async () => {
    const guest = new SlowGuest(5_000);
    guest.silent = 1;
    expect(await codes(guest, 2)).toEqual(['PLATFORM_UNREACHABLE', 'wasRunning true']);
  });
});
