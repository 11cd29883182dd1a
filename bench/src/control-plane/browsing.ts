import { setTimeout as sleep } from 'node:timers/promises';
import { type NewJobBody, type RunId } from '@casvault/contracts';
import { type ApiClient } from '@casvault/stack';
import { type SeededRandom } from '../random.js';
import { type Stopwatch } from './stopwatch.js';

const pauseMs = 150;
const pageSize = 50;
/** Each user makes a job every so many rounds of all routes: some two hundred in two minutes, of which a p99 says something. */
const roundsPerJob = 2;
const users = 4;
/** Pages that a user turns before it begins anew. */
const pagesTurned = 10;

export interface World {
  readonly api: ApiClient;
  readonly watch: Stopwatch;
  readonly random: SeededRandom;
  /** Runs that can be looked at. */
  readonly runs: readonly RunId[];
  readonly vmIds: readonly string[];
  readonly jobBody: (name: string) => NewJobBody;
}

interface Page {
  readonly items: readonly unknown[];
  readonly nextCursor: string | null;
}
const asPage = { parse: (value: unknown) => value as Page };
type Query = Readonly<Record<string, string | number | undefined>>;

/** Four users of the API, each of whom asks for one page after the other until the signal aborts. */
export async function browse(world: World, signal: AbortSignal): Promise<void> {
  await Promise.all(Array.from({ length: users }, (_, user) => browseAlone(world, user, signal)));
}

async function browseAlone(world: World, user: number, signal: AbortSignal): Promise<void> {
  const { api, watch, random, runs, vmIds, jobBody } = world;
  const cursors = new Map<string, { cursor: string; page: number }>();
  const turn = async (name: string, path: string, query: Query = {}): Promise<void> => {
    const at = cursors.get(name);
    const asked = { ...query, limit: pageSize, cursor: at?.cursor };
    const page = await watch.time(name, () => api.ask(asPage, path, { query: asked }));
    const cursor = page?.nextCursor ?? null;
    const number = (at?.page ?? 1) + 1;
    if (cursor === null || number > pagesTurned) cursors.delete(name);
    else cursors.set(name, { cursor, page: number });
    await sleep(pauseMs);
  };
  for (let round = 0; !signal.aborted; round += 1) {
    await turn('list VMs', '/vms');
    const search = `vm-${String(random.between(0, vmIds.length / 10)).padStart(4, '0')}`;
    await watch.time('search VMs', () => api.ask(asPage, '/vms', { query: { search, limit: pageSize } }));
    await turn('list jobs', '/jobs');
    await turn('list runs', '/runs');
    const runId = runs.length === 0 ? null : random.pick(runs);
    if (runId !== null) await watch.time('get run', () => api.getRun(runId));
    await turn('list points', '/points');
    const vmId = random.pick(vmIds);
    await watch.time('list points of a VM', () => api.ask(asPage, '/points', { query: { vmId } }));
    await sleep(pauseMs);
    if (round % roundsPerJob === user % roundsPerJob)
      await watch.time('create job', () => api.createJob(jobBody(`made by user ${user} in round ${round}`)));
  }
}
