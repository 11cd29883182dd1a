import { Fault, getChain, getPoint, listChains, listPoints, newId, protectVm } from '@casvault/contracts';
import { contractsOf, readBaseline } from '@casvault/contracts/testing';
import { type ContractOf } from '@casvault/messaging/testing';
import { until } from '@casvault/testkit';
import { sampleProtectVm } from '../src/testing/samples.js';
import { RunningEngine } from './running-engine.js';

const patienceMs = 60_000;

/** The scheduler, inventory and data-mover have the contracts of the last release; snapshot-engine those of this one. */
describe('snapshot-engine among services of the last release', () => {
  let engine: RunningEngine;
  let then: ContractOf;
  beforeAll(async () => {
    then = contractsOf(await readBaseline());
    engine = await RunningEngine.start(then);
  });
  afterAll(() => engine.stop());

  /** The transfer that a protection asked for, four steps on. */
  const protect = async (pick: number) => {
    const request = sampleProtectVm();
    await engine.client.send(then(protectVm), request, { messageId: newId() });
    const transfer = await until(
      () => [...engine.peers.transfers.values()].find(({ present }) => present?.ownerId === request.itemId),
      patienceMs,
    );
    for (let step = 0; step < 4; step++) await engine.peers.act(transfer, pick);
    return request;
  };
  const ended = (itemId: string, phase: 'succeeded' | 'failed') =>
    until(
      () => engine.peers.items.find((item) => item.itemId === itemId && item.phase === phase),
      patienceMs,
    );

  it('makes a point that they ask for, and shows it', async () => {
    const { client, peers } = engine;
    const request = await protect(3);
    const { pointId } = await ended(request.itemId, 'succeeded');
    await until(() => peers.available.includes(String(pointId)), patienceMs);
    const { items } = await client.request(then(listPoints), { vmId: request.vmId });
    expect(items).toMatchObject([{ id: pointId, state: 'available', kind: 'full' }]);
    const [point] = items;
    if (point === undefined) throw new Error('no point');
    expect(await client.request(then(getPoint), { pointId: point.id })).toEqual(point);
    expect((await client.request(then(listChains), { vmId: request.vmId })).items).toHaveLength(1);
    expect(await client.request(then(getChain), { chainId: point.chainId })).toMatchObject({
      id: point.chainId,
    });
  });

  it('tells them why one failed, in faults that they know', async () => {
    const request = await protect(2);
    expect(await ended(request.itemId, 'failed')).toMatchObject({ fault: { code: 'POOL_FULL' } });
    engine.peers.refusal = new Fault('PLATFORM_LOGIN_REFUSED', 'the CVM does not take the password');
    const refused = sampleProtectVm();
    await engine.client.send(then(protectVm), refused, { messageId: newId() });
    expect(await ended(refused.itemId, 'failed')).toMatchObject({
      fault: { code: 'PLATFORM_LOGIN_REFUSED' },
    });
  });
});
