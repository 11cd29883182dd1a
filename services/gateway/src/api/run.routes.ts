import { getRun, listRunLog, listRuns, runDetailSchema, runIdSchema, stopRun } from '@casvault/contracts';
import { z } from 'zod';
import { logLine } from './alert-examples.js';
import * as examples from './examples.js';
import { operating, reading, route, type Route } from './route.js';

const tag = 'Runs';
const params = z.object({ runId: runIdSchema });

export const runRoutes: readonly Route[] = [
  route({
    id: 'listRuns',
    method: 'GET',
    path: '/runs',
    tag,
    summary: 'Runs, of one job or of all',
    access: reading,
    query: listRuns.request,
    status: 200,
    reply: listRuns.reply,
    faults: [],
    example: { reply: examples.page(examples.run) },
    serve: ({ ask, query }) => ask(listRuns, query),
  }),
  route({
    id: 'getRun',
    method: 'GET',
    path: '/runs/{runId}',
    tag,
    summary: 'One run with its items and their progress',
    access: reading,
    params,
    status: 200,
    reply: runDetailSchema,
    faults: ['NOT_FOUND'],
    example: { reply: examples.runDetail },
    serve: ({ ask, params: { runId } }) => ask(getRun, { runId }),
  }),
  route({
    id: 'stopRun',
    method: 'POST',
    path: '/runs/{runId}/stop',
    tag,
    summary: 'Stop a run',
    description:
      'Its items end at the next block; the run is then `stopped`. It is over within 10 s even when a platform or a mover hangs: what has ' +
      'not ended by then stays in the phase `cleaning` until it has. Sent again, it does nothing more.',
    access: operating,
    params,
    status: 202,
    faults: ['NOT_FOUND', 'CONFLICT'],
    example: {},
    serve: async ({ ask, params: { runId } }) => {
      await ask(stopRun, { runId });
    },
  }),
  route({
    id: 'readRunLog',
    method: 'GET',
    path: '/runs/{runId}/log',
    tag,
    summary: 'The log of a run, oldest first',
    description:
      'What the run did and why it did it otherwise than asked, in both languages; of one VM with `itemId`, from a level on with ' +
      '`level`. To follow a run ask again with `after`, the `seq` of the last line. A run keeps 50,000 lines about VMs, and all ' +
      'about itself; `dropped` says how many were not kept.',
    access: reading,
    params,
    query: listRunLog.request.omit({ runId: true }),
    status: 200,
    reply: listRunLog.reply,
    faults: ['NOT_FOUND'],
    example: { reply: { items: [logLine], nextCursor: null, dropped: 0 } },
    serve: ({ ask, query, params: { runId } }) => ask(listRunLog, { ...query, runId }),
  }),
  route({
    id: 'watchRun',
    method: 'GET',
    path: '/runs/{runId}/events',
    tag,
    summary: 'Follow a run',
    description:
      'Server-sent events. `run`: the run as `GET /runs/{runId}` shows it, once at the beginning and then at every change ' +
      '(a slow reader gets the newest only). `end`: the run is over (`{"state": ...}`); the stream closes, and a client ' +
      'should not connect again. Comments keep the connection open. Every connection begins with the present state, so ' +
      'Last-Event-ID is not needed and has no effect.',
    access: reading,
    params,
    status: 200,
    stream: true,
    faults: ['NOT_FOUND'],
    example: { reply: examples.runDetail },
    serve: ({ watchRun, params: { runId } }) => watchRun(runId),
  }),
];
