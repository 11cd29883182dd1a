import { setTimeout as sleep } from 'node:timers/promises';
import { type Point, type RunDetail } from '@casvault/contracts';
import { labBackup } from '@casvault/stack';
import { startCephRgw, startTcpProxy, tempDir, until, type CephRgw } from '@casvault/testkit';
import { writeAsGuest } from './history/guest-io.js';
import { DiskLegs, legThrough, type Leg } from './legs.js';
import {
  expectAlerts,
  expectRestored,
  expectSucceeded,
  MiB,
  pointOf,
  startWorld,
  sumOf,
  untilNothingLeft,
  type World,
} from './world.js';

/** The mover measures time so much faster: a minute of `reconnect.minutes` is two seconds. */
const times = 30;
const hastened = `--import ${new URL(`./hastened/main.js?times=${times}`, import.meta.url).href}`;

const dataBytes = 24 * MiB;
/** By that clock, a fifth of a second of it every 20 ms of ours: a transfer is under way for eight seconds at least. */
const speedLimit = [{ from: '00:00', to: '00:00', rate: 320, unit: 'KiB/s', appliesTo: 'disk' }] as const;
const options = (minutes: number) => ({ speedLimit, reconnect: { minutes, bufferMiB: 1 } });

/** A machine that runs, and the leg of its transfers that is cut. */
interface Cut {
  /** Of the machine. */
  readonly name: string;
  readonly poolId: string;
  readonly leg: Leg;
  /** What passes before each cut, a sixth of a transfer or less: the pool has it compressed. */
  readonly stepBytes: number;
  /** What is told when it is away for too long. */
  readonly code: 'NBD_DISCONNECTED' | 'POOL_UNREACHABLE';
}

/** The transfer has come on since now: told by what passes, which is at once. */
const comesOn = async ({ leg, stepBytes }: Pick<Cut, 'leg' | 'stepBytes'>): Promise<void> => {
  const before = leg.passedBytes;
  await until(() => leg.passedBytes >= before + stepBytes);
};

/** For so many seconds of the mover's time. */
const cutFor = async (leg: Leg, seconds: number): Promise<void> => {
  leg.cut();
  await sleep((seconds * 1_000) / times);
  leg.mend();
};

/** The ways between the mover and the pool, the mover and the exports of the host, each on its own. */
describe('a leg that is cut in mid-transfer', () => {
  const resources = new AsyncDisposableStack();
  const legs = new DiskLegs();
  let world: World;
  let rgw: CephRgw;
  /** For shorter than `reconnect.minutes`, and for longer. */
  let short: readonly Cut[];
  let long: readonly Cut[];
  const points = new Map<Cut, Point>();
  /** Under way while the shorter cuts are looked at. */
  const givenUp: Promise<RunDetail>[] = [];

  /** An object pool with a way of its own. */
  const pool = async (name: string): Promise<{ readonly id: string; readonly leg: Leg }> => {
    const { endpoint, accessKeyId, secretKey } = rgw;
    const way = await startTcpProxy(Number(new URL(endpoint).port));
    resources.defer(() => way.stop());
    await rgw.createBucket(name);
    const place = { endpoint: `http://127.0.0.1:${way.port}`, bucket: name, accessKeyId, secretKey };
    const { id } = await world.trial.api.createPool({ name, type: 'object', ...place });
    return { id, leg: legThrough(way) };
  };

  beforeAll(async () => {
    resources.use(legs);
    const dir = resources.use(await tempDir('e2e-cut-rgw'));
    rgw = await startCephRgw({ dir: dir.path });
    resources.defer(() => rgw.stop());
    const names = ['disk-short', 'pool-short', 'disk-long', 'pool-long'];
    const disks = (seed: number) => [{ sizeBytes: 64 * MiB, dataBytes, seed }];
    world = await startWorld('cut', {
      env: { 'mover-1': { NODE_OPTIONS: hastened, CASVAULT_DATA_MOVER_TRANSFERS: '8' } },
      vms: names.map((name, at) => ({
        name,
        host: (at % 2) + 1,
        guest: 'idle' as const,
        disks: disks(at + 1),
      })),
      wayToExport: legs.wayTo,
    });
    resources.use(world);
    const whole = await pool('whole');
    const disk = { stepBytes: 4 * MiB, code: 'NBD_DISCONNECTED' } as const;
    const cutOf = async (name: string): Promise<Cut> => {
      if (name.startsWith('disk')) return { name, poolId: whole.id, leg: legs.of(name), ...disk };
      const { id: poolId, leg } = await pool(name);
      return { name, poolId, leg, stepBytes: MiB / 2, code: 'POOL_UNREACHABLE' };
    };
    short = [await cutOf('disk-short'), await cutOf('pool-short')];
    long = [await cutOf('disk-long'), await cutOf('pool-long')];
    for (const cut of long) beside(untilGivenUp(cut));
  });
  afterAll(() => resources.disposeAsync());

  const beside = (run: Promise<RunDetail>): void => {
    run.catch(() => undefined); // told by the test that waits for it
    givenUp.push(run);
  };
  const backUp = async ({ name, poolId }: Cut, change: object): Promise<RunDetail['id']> => {
    const vm = await world.trial.vm(world.platform, name);
    const definition = { ...labBackup, vmIds: [vm.id], poolId, pointKind: 'full' };
    return world.trial.startJob({ ...definition, ...change }, `backup of ${name}`);
  };
  const restore = async (point: Point, vmName: string, minutes: number): Promise<RunDetail['id']> => {
    const target = { ...(await world.trial.placeOn(world.platform, '2')), vmName };
    const items = [{ pointId: point.id, target }];
    return world.trial.startJob(
      { kind: 'restore', items, options: options(minutes) },
      `restore as ${vmName}`,
    );
  };
  const ended = (runId: RunDetail['id']): Promise<RunDetail> =>
    world.trial.api.watchRun(runId, () => undefined);
  const pointFrom = (cut: Cut): Point => points.get(cut) ?? missing(`the point of ${cut.name}`);

  /** The guest goes on: what it writes now is not of the captured instant. */
  const writeOn = async ({ name }: Cut): Promise<void> => {
    const { trial } = world;
    const { uuid, hostId } = trial.lab.vms.find((vm) => vm.name === name) ?? missing(name);
    const host = trial.lab.hosts.find(({ id }) => id === hostId) ?? missing(`the host of ${name}`);
    await writeAsGuest(host, uuid, 0, [{ offset: 0, length: 4 * MiB, pattern: 0x5a }]);
  };

  /** A backup with one more attempt. Its leg is cut in each until that is given up: what it wrote is to be removed from the pool. */
  const untilGivenUp = async (cut: Cut): Promise<RunDetail> => {
    const retry = { count: 1, intervalMinutes: 0 };
    const runId = await backUp(cut, { options: options(1), retry });
    for (const attempt of [1, 2]) {
      await comesOn(cut);
      cut.leg.cut();
      await until(async () => {
        const { items, finishedAt } = await world.trial.api.getRun(runId);
        const [item] = items;
        const isCleaned = item?.attempt === attempt && item.phase === 'cleaning';
        return isCleaned || (item?.attempt ?? 0) > attempt || finishedAt !== null;
      });
      cut.leg.mend();
    }
    return ended(runId);
  };

  it('for 1 s, 30 s and 5 min: a backup goes on with what it stored, and nobody is alerted', async () => {
    const disturbed = async (cut: Cut): Promise<void> => {
      const runId = await backUp(cut, { options: options(30) });
      for (const seconds of [1, 30, 300]) {
        await comesOn(cut);
        const isCut = cutFor(cut.leg, seconds);
        await writeOn(cut);
        await isCut;
      }
      const run = expectSucceeded(await ended(runId));
      expect(run.items).toMatchObject([{ attempt: 1 }]);
      expect(sumOf(run, 'resumedBytes')).toBeGreaterThan(0);
      await expectAlerts(world, run);
      points.set(cut, await pointOf(world, run));
    };
    // The two legs at once.
    const both = short.map(disturbed);
    await Promise.all(both);
  });

  it('for 30 s: a restore goes on to the same bytes, and nobody is alerted', async () => {
    beside(restoreGivenUp());
    const disturbed = async (cut: Cut): Promise<void> => {
      const point = pointFrom(cut);
      const name = `${cut.name}-restored`;
      // Its leg is that of what is made under its name too.
      const runId = await restore(point, name, 30);
      await comesOn(cut);
      await cutFor(cut.leg, 30);
      const run = await ended(runId);
      await expectRestored(world, point, run);
      await expectAlerts(world, run);
    };
    // The two legs at once.
    const both = short.map(disturbed);
    await Promise.all(both);
  });

  it('for longer than reconnect.minutes: a run fails with the reason after its retries, and one alert is raised for it', async () => {
    const runs = await Promise.all(givenUp);
    const reasons = [...long.map(({ code }) => code), 'NBD_DISCONNECTED'];
    for (const [at, run] of runs.entries()) {
      expect([run.state, run.items[0]?.fault?.code]).toEqual(['failed', reasons[at]]);
      expect(run.items[0]?.fault?.message).toContain('given up after 1 min (reconnect.minutes)');
      await expectAlerts(world, run);
    }
    for (const [at, run] of runs.slice(0, 2).entries())
      expect(run.items).toMatchObject([{ attempt: 2, earlierFault: { code: reasons[at] } }]);
    await untilNothingLeft(world, 60_000);
    // Those of the cuts before have had the time of three runs to be raised.
    const told = (await world.trial.api.listAlerts()).map(({ runId }) => runId);
    expect(told.sort()).toEqual(runs.map(({ id }) => id).sort());
  });

  /** Restores have one attempt. */
  const restoreGivenUp = async (): Promise<RunDetail> => {
    const name = 'never-whole';
    const runId = await restore(pointFrom(short[0] ?? missing('a cut')), name, 1);
    const leg = legs.of(name);
    await comesOn({ leg, stepBytes: 4 * MiB });
    leg.cut();
    const run = await ended(runId);
    leg.mend();
    return run;
  };
});

const missing = (what: string): never => {
  throw new Error(`${what} is missing`);
};
