import { type CasClient, type CasVmRow } from '@casvault/cas-client';
import { Fault, newId, type PlatformId, type RunItemId, type VmId } from '@casvault/contracts';
import { TestLogger } from '@casvault/testkit';
import { type RegisteredPlatform } from './platform.js';
import { type Shutdown } from './shutdown.js';
import { VmPower } from './vm-power.js';

/** A guest that is down so long after it was asked, and time that passes only while somebody sleeps. */
class SlowGuest {
  now = Date.parse('2026-01-01T00:00:00Z');
  asked: number[] = [];
  stored: Shutdown | null = null;
  /** The CVM is not to be reached for the next calls. */
  silent = 0;

  constructor(private readonly takesMs: number) {}

  readonly clock = {
    now: () => new Date(this.now),
    sleep: async (ms: number, signal?: AbortSignal) => {
      // What only bounds a call of the CVM never ends here before the call does.
      if (ms > 1_000)
        return new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve()));
      this.now += ms;
    },
  };

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
      },
      clock: this.clock,
      logger: new TestLogger(),
    });
  }
}

describe('R6, G2: a safe shutdown', () => {
  const request = { itemId: newId<RunItemId>(), vmId: newId<VmId>(), withinSeconds: 100 };
  const { signal } = new AbortController();
  const codes = async (guest: SlowGuest, calls: number): Promise<string[]> => {
    const found: string[] = [];
    for (let i = 0; i < calls; i += 1) {
      const power = guest.power(); // each call meets another process
      const answer = await power.shutDown(request, signal).then(
        ({ wasRunning }) => `wasRunning ${String(wasRunning)}`,
        (error: unknown) => Fault.from(error).code,
      );
      found.push(answer);
    }
    return found;
  };

  it('answers in turns of 40 s, asks the guest once, and says at the end that it ran', async () => {
    const guest = new SlowGuest(70_000);
    expect(await codes(guest, 3)).toEqual(['PLATFORM_BUSY', 'wasRunning true', 'wasRunning true']);
    expect(guest.asked).toHaveLength(1);
    expect(guest.stored?.state).toBe('down');
  });
  it('gives up once its time is over, counted from the first call, and stays with that', async () => {
    const guest = new SlowGuest(Infinity);
    const began = guest.now;
    expect(await codes(guest, 3)).toEqual(['PLATFORM_BUSY', 'PLATFORM_BUSY', 'VM_STATE_REFUSED']);
    expect(guest.now - began).toBe(100_000);
    expect(await codes(guest, 1)).toEqual(['VM_STATE_REFUSED']);
    expect([guest.now - began, guest.asked.length, guest.stored?.state]).toEqual([100_000, 1, 'refused']);
  });
  it('asks anew when it cannot know whether the guest was asked', async () => {
    const guest = new SlowGuest(5_000);
    guest.silent = 1;
    expect(await codes(guest, 2)).toEqual(['PLATFORM_UNREACHABLE', 'wasRunning true']);
  });
});
