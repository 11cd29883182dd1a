import {
  Fault,
  newId,
  type FaultCode,
  type Opening,
  type OpeningId,
  type TransferId,
} from '@casvault/contracts';
import { ManualClock, TestLogger } from '@casvault/testkit';
import { HeldOpenings, type DiskService } from './held-openings.js';

const request = {
  kind: 'volume',
  path: '/vms/a.raw',
  format: 'raw',
  sizeBytes: 512,
} as const;
const { signal } = new AbortController();

describe('HeldOpenings', () => {
  let clock: ManualClock;
  let calls: string[];
  let faults: Partial<Record<keyof DiskService, FaultCode>>;
  let isOurs: boolean;
  let held: HeldOpenings;
  const id = newId<OpeningId>();
  const [own, over, going] = [newId<TransferId>(), newId<TransferId>(), newId<TransferId>()];
  /** In the way of whatever is opened, until it is closed. */
  let holder: { openingId: OpeningId; transferId?: TransferId } | null;
  beforeEach(() => {
    clock = new ManualClock();
    calls = [];
    faults = {};
    isOurs = true;
    holder = null;
    const call = async (name: keyof DiskService): Promise<Opening> => {
      calls.push(name);
      const code = faults[name];
      if (code) throw new Fault(code, 'played');
      if (name === 'open' && holder)
        throw new Fault('DISK_SERVICE_REFUSED', 'held', { details: { ...holder } });
      return { openingId: id } as Opening;
    };
    const client: DiskService = {
      open: () => call('open'),
      get: () => call('get'),
      renew: () => call('renew'),
      close: async (closed, options) => {
        await call('close');
        if (closed !== holder?.openingId) return;
        expect(options?.keepCheckpoint).toBe(false);
        holder = null;
      },
    };
    held = new HeldOpenings({
      client: () => client,
      transferId: own,
      isOurs: () => isOurs,
      isOver: async (other) => other === over,
      clock,
      logger: new TestLogger(),
    });
  });
  afterEach(() => held.letGoAll());

  it('renews every 20 s while the transfer is ours, and until it is let go', async () => {
    await held.open(id, request, signal);
    await clock.advance(60_000);
    expect(calls).toEqual(['open', 'renew', 'renew', 'renew']);
    isOurs = false;
    await clock.advance(60_000);
    expect(calls).toHaveLength(4);
    isOurs = true;
    await clock.advance(20_000);
    expect(calls).toHaveLength(5);
    await held.letGoAll();
    await clock.advance(60_000);
    expect(calls).toHaveLength(5);
  });

  it('tells of a loss, not of a silence', async () => {
    const { lost } = await held.open(id, request, signal);
    faults = { renew: 'DISK_SERVICE_UNREACHABLE', get: 'DISK_SERVICE_UNREACHABLE' };
    await clock.advance(20_000);
    expect(lost.aborted).toBe(false);
    expect(await held.isLost(id, signal)).toBe(false);
    faults = { renew: 'CAPTURE_LOST', get: 'CAPTURE_LOST' };
    await clock.advance(20_000);
    expect(lost.reason).toMatchObject({ code: 'CAPTURE_LOST' });
    expect(await held.isLost(id, signal)).toBe(true);
  });

  it('closes also what it asked for in vain: it may stand all the same', async () => {
    faults = { open: 'DISK_SERVICE_UNREACHABLE' };
    await expect(held.open(id, request, signal)).rejects.toMatchObject({ code: 'DISK_SERVICE_UNREACHABLE' });
    await held.closeAll(signal);
    expect(calls).toEqual(['open', 'close']);
    await held.closeAll(signal);
    expect(calls).toHaveLength(2);
  });

  it.each([
    ['of a transfer that is over', over],
    ['that this transfer gave up', own],
  ])('closes an opening %s and opens', async (_whose, transferId) => {
    holder = { openingId: newId<OpeningId>(), transferId };
    expect((await held.open(id, request, signal)).opening.openingId).toBe(id);
    expect(calls).toEqual(['open', 'close', 'open']);
  });

  it.each([
    ['of a transfer that goes on', going],
    ['of nobody that is known', undefined],
  ])('leaves an opening %s alone', async (_whose, transferId) => {
    holder = { openingId: newId<OpeningId>(), ...(transferId && { transferId }) };
    await expect(held.open(id, request, signal)).rejects.toMatchObject({ code: 'DISK_SERVICE_REFUSED' });
    expect(calls).toEqual(['open']);
  });

  it('tries a few times to close, and leaves the rest to the lease', async () => {
    await held.open(id, request, signal);
    faults = { close: 'DISK_SERVICE_UNREACHABLE' };
    const closing = held.closeAll(signal);
    await clock.advance(60_000);
    await closing;
    expect(calls).toEqual(['open', 'close', 'close', 'close', 'close', 'close']);
  });
});
