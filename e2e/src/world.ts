import { chmod } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { checkpointName, type Platform, type Point, type RunDetail, type Vm } from '@casvault/contracts';
import { startStack, sameDisk, Trial, type Stack, type StackOptions } from '@casvault/stack';
import {
  freePort,
  tempDir,
  until,
  type LabVmPlan,
  type LabLeftovers,
  type WayToExport,
} from '@casvault/testkit';

export const MiB = 1024 * 1024;

/** The stack, a lab of two hosts and a signed-in client, in a folder of its own that goes with it. */
export interface World extends AsyncDisposable {
  readonly stack: Stack;
  readonly trial: Trial;
  readonly platform: Platform;
}

export const startWorld = async (
  name: string,
  options: {
    vms: readonly LabVmPlan[];
    movers?: number;
    env?: StackOptions['env'];
    /** Added to the lab's. */
    labEnv?: Readonly<Record<string, string>>;
    /** Default true: `expectRestoredEqual` has independent copies to compare with. */
    observed?: boolean;
    /** Where movers reach what a disk service of an observed platform opens. */
    wayToExport?: WayToExport;
  },
): Promise<World> => {
  const dir = await tempDir(`e2e-${name}`);
  await chmod(dir.path, 0o755);
  const stack = await startStack({
    dir: dir.path,
    gatewayPort: await freePort(),
    movers: options.movers ?? 1,
    lab: { hosts: 2, vms: options.vms, ...(options.labEnv === undefined ? {} : { env: options.labEnv }) },
    ...(options.env === undefined ? {} : { env: options.env }),
  });
  const trial = await Trial.begin(stack, options.wayToExport);
  return {
    stack,
    trial,
    platform: await trial.platform('lab CAS', options.observed ?? true),
    [Symbol.asyncDispose]: async () => {
      await trial.end();
      await stack.lab?.remove();
      await stack.stop();
      await dir.remove();
    },
  };
};

/** The run's only item succeeded; otherwise the message says how it ended. */
export const expectSucceeded = (run: RunDetail): RunDetail => {
  expect({ state: run.state, faults: run.items.map((item) => item.fault) }).toEqual({
    state: 'succeeded',
    faults: run.items.map(() => null),
  });
  return run;
};

export const pointOf = async (world: World, run: RunDetail): Promise<Point> => {
  const pointId = run.items[0]?.pointId;
  if (pointId === null || pointId === undefined) throw new Error('the run made no point');
  return world.trial.api.getPoint(pointId);
};

/** None for what ended well; one, however often it was tried, for what did not. */
export const expectAlerts = async (world: World, { id: runId, state }: RunDetail): Promise<void> => {
  const raised = state === 'succeeded' ? 0 : 1;
  await until(async () => (await world.trial.api.listAlerts({ runId })).length >= raised, 60_000);
  expect(await world.trial.api.listAlerts({ runId })).toHaveLength(raised);
};

/** Of all disks of the run. */
export const sumOf = (run: RunDetail, bytes: 'doneBytes' | 'storedBytes' | 'resumedBytes'): number =>
  run.items.flatMap((item) => item.progress).reduce((sum, disk) => sum + disk[bytes], 0);

let restores = 0;
/** Restores to the second host and compares every disk with the independent copy of the captured instant. */
export const expectRestoredEqual = async (world: World, point: Point): Promise<Vm> => {
  restores += 1;
  const name = `restored-${restores}-${Date.now().toString(36)}`;
  return expectRestored(world, point, await world.trial.restore(point, world.platform, '2', name));
};

/** The run restored the point to one VM, of which every disk is as the independent copy of the captured instant. */
export const expectRestored = async (world: World, point: Point, restore: RunDetail): Promise<Vm> => {
  const run = expectSucceeded(restore);
  await world.trial.api.syncPlatform(world.platform.id);
  const restoredId = run.items[0]?.restoredVmId;
  if (restoredId === null || restoredId === undefined) throw new Error('the restore named no VM');
  const vm = await world.trial.api.getVm(restoredId);
  const reference = await world.trial.referenceOf(point);
  expect(vm.disks.map((disk) => disk.target).sort()).toEqual([...reference.keys()].sort());
  for (const disk of vm.disks) {
    const raw = { path: reference.get(disk.target) ?? '', format: 'raw' };
    expect({ target: disk.target, equal: await sameDisk(raw, disk) }).toEqual({
      target: disk.target,
      equal: true,
    });
  }
  return vm;
};

/** Names of the checkpoints that the next runs need: of the newest point of every VM in every pool. */
const neededCheckpoints = async (world: World): Promise<ReadonlySet<string>> => {
  const newest = new Map<string, Point>();
  for (const point of await world.trial.api.listPoints({ state: 'available' })) {
    const series = `${point.vmId} ${point.poolId}`;
    const known = newest.get(series)?.capturedAt ?? '';
    if ((point.capturedAt ?? '') > known) newest.set(series, point);
  }
  return new Set([...newest.values()].map(({ id }) => checkpointName(id)));
};

const nothing: LabLeftovers = {
  jobs: [],
  checkpoints: [],
  bitmaps: [],
  scratchFiles: [],
  listeningPorts: [],
  processes: [],
  looseVolumes: [],
};

/** What is left on each host besides what the next runs need, and what should be: nothing. */
const leftovers = async (world: World): Promise<LabLeftovers[]> => {
  const needed = await neededCheckpoints(world);
  const isStray = (path: string): boolean => !needed.has(path.split('/').at(-1) ?? '');
  const found: LabLeftovers[] = [];
  for (const host of world.trial.lab.hosts) {
    const { checkpoints, bitmaps, ...rest } = await world.trial.lab.admin.leftovers(host.id);
    found.push({ ...rest, checkpoints: checkpoints.filter(isStray), bitmaps: bitmaps.filter(isStray) });
  }
  return found;
};

/** Nothing of ours is left on any host but what the next runs need. */
export const expectNothingLeft = async (world: World): Promise<void> => {
  for (const found of await leftovers(world)) expect(found).toEqual(nothing);
};

/** The same outside of a test: waits for it so long, then throws with what is left. */
export const untilNothingLeft = async (world: World, timeoutMs: number): Promise<void> => {
  let found: LabLeftovers[] = [];
  const isClean = async (): Promise<boolean> => {
    found = await leftovers(world);
    return found.every((host) => isDeepStrictEqual(host, nothing));
  };
  await until(isClean, timeoutMs, 1_000).catch((cause: unknown) => {
    throw new Error(`left on the hosts: ${JSON.stringify(found)}`, { cause });
  });
};

/** Follows a run until `when` holds for one of its changes. */
export const untilRun = async (
  world: World,
  runId: RunDetail['id'],
  when: (run: RunDetail) => boolean,
): Promise<RunDetail> => {
  for (;;) {
    const run = await world.trial.api.getRun(runId);
    if (when(run)) return run;
    if (run.finishedAt !== null) throw new Error(`the run ended ${run.state} before it could be disturbed`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};
