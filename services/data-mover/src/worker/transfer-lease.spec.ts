import {
  Fault,
  newId,
  type FaultCode,
  type OpeningId,
  type TransferId,
  type WriterId,
} from '@casvault/contracts';
import { ManualClock, TestLogger } from '@casvault/testkit';
import { TransferLease, type Claim, type ControllerClient } from './transfer-lease.js';

const claim = {
  outcome: 'claimed',
  epoch: 3,
  leaseSeconds: 15,
  writerId: newId<WriterId>(),
  openingId: newId<OpeningId>(),
  capturedAt: null,
  earlierWriters: [],
  spec: { kind: 'removal' },
} as unknown as Claim;
const progress = [{ target: 'vda', totalBytes: 9, doneBytes: 1, storedBytes: 1, resumedBytes: 0 }];
const signal = new AbortController().signal;

interface Asked {
  readonly name: string;
  readonly request: Record<string, unknown>;
}

/** A controller that answers as it is told to at the moment. */
class Answers implements Pick<ControllerClient, 'request'> {
  readonly asked: Asked[] = [];
  now: FaultCode | 'go on' | 'stop' = 'go on';
  readonly request = (async (query: { name: string }, request: Record<string, unknown>) => {
    this.asked.push({ name: query.name, request });
    if (this.now === 'go on' || this.now === 'stop') return { verdict: this.now, leaseSeconds: 15 };
    throw new Fault(this.now, 'played');
  }) as unknown as ControllerClient['request'];
  of(name: string): Asked[] {
    return this.asked.filter((one) => one.name === name);
  }
}

describe('TransferLease', () => {
  let clock: ManualClock;
  let client: Answers;
  let lease: TransferLease;
  let kept: Promise<void>;
  const at = (): number => clock.now().getTime();
  beforeEach(() => {
    clock = new ManualClock();
    client = new Answers();
    lease = new TransferLease(claim, {
      transferId: newId<TransferId>(),
      claimedAt: at(),
      client,
      clock,
      monotonic: at,
      logger: new TestLogger(),
    });
    kept = lease.keep();
  });
  afterEach(async () => {
    lease.letGo();
    await kept;
  });
  const seconds = (count: number): Promise<void> => clock.advance(count * 1_000);

  it('renews every four seconds under its epoch, with what there is to tell', async () => {
    lease.report(progress);
    await lease.captured({ openedAt: '2026-01-01T00:00:00.000Z', method: 'live' });
    await seconds(12);
    expect(client.of('renew-transfer')).toHaveLength(4);
    expect(client.asked.at(-1)?.request).toMatchObject({
      epoch: 3,
      progress,
      capturedAt: '2026-01-01T00:00:00.000Z',
      method: 'live',
    });
    lease.captureLost();
    await seconds(4);
    expect(client.asked.at(-1)?.request).toMatchObject({ progress: [], capturedAt: null, method: null });
  });

  it('ends the work when it is told to stop, and goes on renewing until that is reported', async () => {
    client.now = 'stop';
    await seconds(4);
    expect(lease.ending).toBe('stop');
    expect(lease.signal.reason).toMatchObject({ code: 'STOPPED' });
    expect(() => lease.throwIfEnded()).toThrow('told to stop');
    await seconds(4);
    expect(client.of('renew-transfer')).toHaveLength(2);
    expect(lease.isProven).toBe(true);
  });

  it.each(['LEASE_LOST', 'NOT_FOUND'] as const)('is lost at once by %s', async (code) => {
    client.now = code;
    await seconds(4);
    expect(lease.ending).toBe('lost');
    expect(lease.isProven).toBe(false);
    await seconds(60);
    expect(client.asked).toHaveLength(1);
  });

  it('works on through a silence of up to 90 s past the lease, unproven, and is lost then', async () => {
    await seconds(4);
    client.now = 'DEPENDENCY_UNAVAILABLE';
    await seconds(14.9);
    expect(lease.isProven).toBe(true);
    await seconds(0.2);
    expect(lease.isProven).toBe(false);
    await seconds(88);
    expect(lease.ending).toBeNull();
    await seconds(3);
    expect(lease.ending).toBe('lost');
    expect(lease.signal.reason).toMatchObject({ code: 'LEASE_LOST' });
  });

  it('is proven again when the controller is back', async () => {
    client.now = 'DEADLINE_EXCEEDED';
    await seconds(40);
    expect(lease.isProven).toBe(false);
    client.now = 'go on';
    await seconds(2);
    expect(lease.isProven).toBe(true);
    expect(lease.ending).toBeNull();
  });

  it('lets nobody commit without an answer, nor on a lease that ran out', async () => {
    client.now = 'DEPENDENCY_UNAVAILABLE';
    let allowed = false;
    const asking = lease.mayCommit().then(() => (allowed = true));
    await seconds(30);
    expect(allowed).toBe(false);
    client.now = 'go on';
    await seconds(2);
    await asking;
    client.now = 'DEPENDENCY_UNAVAILABLE';
    await seconds(12);
    expect(lease.ending).toBeNull();
    await seconds(5);
    expect(lease.ending).toBe('lost');
  });

  it.each(['stop', 'LEASE_LOST'] as const)('forbids a commit by %s', async (answer) => {
    client.now = answer;
    await expect(lease.mayCommit()).rejects.toMatchObject({
      code: answer === 'stop' ? 'STOPPED' : 'LEASE_LOST',
    });
  });

  it('asks again only what was not answered', async () => {
    let tries = 0;
    const asking = lease.ask(async () => {
      tries += 1;
      if (tries < 3) throw new Fault('DEPENDENCY_UNAVAILABLE', 'away');
      throw new Fault('CAPTURE_LOST', 'too often');
    });
    const told = expect(asking).rejects.toMatchObject({ code: 'CAPTURE_LOST' });
    await seconds(3);
    await told;
    expect(tries).toBe(3);
    expect(lease.ending).toBeNull();
    const outdated = lease.ask(() => Promise.reject(new Fault('LEASE_LOST', 'another has it')));
    await expect(outdated).rejects.toMatchObject({ code: 'LEASE_LOST' });
    expect(lease.ending).toBe('lost');
  });

  it('reports its end until that is taken, at most 15 s apart, for five minutes', async () => {
    client.now = 'DEPENDENCY_UNAVAILABLE';
    const never = lease.finish({ state: 'stopped' }, signal);
    await seconds(400);
    expect(await never).toBe(false);
    const tries = client.of('finish-transfer').length;
    expect(tries).toBeGreaterThan(20);
    expect(tries).toBeLessThan(30);
    const soon = lease.finish({ state: 'released' }, signal);
    await seconds(2);
    client.now = 'go on';
    await seconds(2);
    expect(await soon).toBe(true);
    expect(client.asked.at(-1)?.request).toMatchObject({ epoch: 3, outcome: { state: 'released' } });
  });

  it('reports nothing again that is refused for good, or when its process ends', async () => {
    client.now = 'LEASE_LOST';
    expect(await lease.finish({ state: 'stopped' }, signal)).toBe(false);
    expect(client.of('finish-transfer')).toHaveLength(1);
    client.now = 'DEPENDENCY_UNAVAILABLE';
    const ending = new AbortController();
    const cut = lease.finish({ state: 'stopped' }, ending.signal);
    await seconds(0.1);
    ending.abort();
    await seconds(0.1);
    expect(await cut).toBe(false);
  });

  it('keeps its first ending', () => {
    lease.end('release');
    lease.end('stop');
    expect(lease.ending).toBe('release');
  });
});
