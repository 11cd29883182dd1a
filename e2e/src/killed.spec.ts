import { setTimeout as sleep } from 'node:timers/promises';
import { type RunDetail } from '@casvault/contracts';
import { labBackup } from '@casvault/stack';
import { until } from '@casvault/testkit';
import {
  expectAlerts,
  expectNothingLeft,
  expectRestoredEqual,
  expectSucceeded,
  MiB,
  pointOf,
  startWorld,
  sumOf,
  untilRun,
  type World,
} from './world.js';

const outageMs = 20_000;
/** Of the machine's larger disk. */
const dataBytes = 96 * MiB;
/** So that a transfer is under way for ten seconds, however fast the machine is. */
const speedLimit = [{ from: '00:00', to: '00:00', rate: 10, unit: 'MiB/s', appliesTo: 'disk' }] as const;

const doneBytes = (run: RunDetail): number => sumOf(run, 'doneBytes');

/** "Whoever may be killed, is killed": in mid-transfer of a running VM, one after the other. */
describe('killed in mid-run', () => {
  let world: World;
  let poolId: string;

  beforeAll(async () => {
    world = await startWorld('killed', {
      movers: 2,
      vms: [
        {
          name: 'busy',
          host: 1,
          disks: [
            { sizeBytes: 256 * MiB, dataBytes: 8 * MiB, seed: 1 },
            // Of these 96 MiB packs take 33.
            { sizeBytes: 256 * MiB, dataBytes, seed: 22 },
          ],
          workload: { pairsPerSecond: 5, bulkKiBPerSecond: 64 },
        },
      ],
    });
    poolId = (await world.trial.standardPool('killed')).id;
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const startBackup = async (): Promise<RunDetail['id']> => {
    const vm = await world.trial.vm(world.platform, 'busy');
    const definition = { ...labBackup, vmIds: [vm.id], poolId, pointKind: 'full' };
    return world.trial.startJob({ ...definition, options: { speedLimit } }, 'backup to be disturbed');
  };
  const inMidTransfer = (runId: RunDetail['id']): Promise<RunDetail> =>
    untilRun(world, runId, (run) => doneBytes(run) > 34 * MiB);
  const ended = (runId: RunDetail['id']): Promise<RunDetail> =>
    world.trial.api.watchRun(runId, () => undefined);

  /** Available and right, or failed with a reason; either way nothing is left on the hosts. */
  const expectCleanEnd = async (run: RunDetail): Promise<void> => {
    const [item] = run.items;
    if (item?.state === 'succeeded') await expectRestoredEqual(world, await pointOf(world, run));
    else expect(item?.fault?.message).toMatch(/\w+ \w+/);
    await until(
      async () => {
        await expectNothingLeft(world);
        return true;
      },
      60_000,
      1_000,
    );
    await expectAlerts(world, run);
  };

  it('mover-killed-in-mid-transfer: another goes on from what is durable, to the same bytes', async () => {
    const runId = await startBackup();
    // More than the packs that two threads fill and put at once: the first ones are durable.
    await untilRun(world, runId, (run) => sumOf(run, 'storedBytes') > 18 * MiB);
    // Both movers listen; the one that has the transfer is the one whose kill makes the other go on.
    const holder = await holderOf(world);
    await world.stack.process(holder).kill();
    const run = expectSucceeded(await ended(runId));
    expect(sumOf(run, 'resumedBytes')).toBeGreaterThan(14 * MiB);
    expect(run.items[0]?.reasons).toContain('WORKER_LOST');
    await expectCleanEnd(run);
    await world.stack.process(holder).start();
  });

  it.each(['snapshot-engine', 'scheduler', 'inventory', 'data-mover'])(
    '%s down for 20 s',
    async (service) => {
      const runId = await startBackup();
      await inMidTransfer(runId);
      await world.stack.process(service).kill();
      await sleep(outageMs);
      await world.stack.process(service).start();
      await expectCleanEnd(await ended(runId));
    },
  );

  it.each(['nats', 'postgres'] as const)('%s down for 20 s', async (server) => {
    const runId = await startBackup();
    await inMidTransfer(runId);
    await world.stack[server].kill();
    await sleep(outageMs);
    await world.stack[server].start();
    await expectCleanEnd(await ended(runId));
  });
});

/** The mover whose log names the last claim. */
const holderOf = async (world: World): Promise<string> => {
  const claims: { name: string; at: string }[] = [];
  for (const name of ['mover-1', 'mover-2']) {
    const lines = (await world.stack.process(name).logTail(2_000))
      .split('\n')
      .filter((line) => line.includes('transfer claimed'));
    const last = lines.at(-1);
    if (last !== undefined)
      claims.push({ name, at: String((JSON.parse(last) as { time: string | number }).time) });
  }
  const newest = claims.sort((a, b) => a.at.localeCompare(b.at)).at(-1);
  if (newest === undefined) throw new Error('no mover has claimed a transfer');
  return newest.name;
};
