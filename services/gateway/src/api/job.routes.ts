import {
  createJob,
  getJob,
  jobIdSchema,
  jobSchema,
  listJobs,
  newJobBodySchema,
  pageRequestSchema,
  runChoiceSchema,
  runSchema,
  startRun,
  type JobId,
  type RunId,
} from '@casvault/contracts';
import { z } from 'zod';
import * as examples from './examples.js';
import { operating, reading, route, type Route } from './route.js';

const tag = 'Jobs';
const params = z.object({ jobId: jobIdSchema });

export const jobRoutes: readonly Route[] = [
  route({
    id: 'createJob',
    method: 'POST',
    path: '/jobs',
    tag,
    summary: 'Create a backup or restore job',
    description:
      'With the plan `immediate` its first run begins at once; with `manual`, when somebody starts one.',
    access: operating,
    body: newJobBodySchema,
    status: 201,
    reply: jobSchema,
    idempotent: true,
    location: '/jobs/{id}',
    faults: ['ALREADY_EXISTS', 'IDEMPOTENCY_KEY_REUSED', 'NOT_FOUND', 'VM_NOT_FOUND', 'CONFLICT'],
    example: {
      body: {
        name: examples.job.name,
        definition: { kind: 'backup', vmIds: [examples.ids.vm], poolId: examples.ids.pool },
        plan: { type: 'immediate' },
      },
      reply: examples.job,
    },
    serve: ({ ask, body, resourceId }) => ask(createJob, { id: resourceId<JobId>(), ...body }),
  }),
  route({
    id: 'listJobs',
    method: 'GET',
    path: '/jobs',
    tag,
    summary: 'Jobs',
    access: reading,
    query: pageRequestSchema,
    status: 200,
    reply: listJobs.reply,
    faults: [],
    example: { reply: examples.page(examples.job) },
    serve: ({ ask, query }) => ask(listJobs, query),
  }),
  route({
    id: 'getJob',
    method: 'GET',
    path: '/jobs/{jobId}',
    tag,
    summary: 'One job',
    access: reading,
    params,
    status: 200,
    reply: jobSchema,
    faults: ['NOT_FOUND'],
    example: { reply: examples.job },
    serve: ({ ask, params: { jobId } }) => ask(getJob, { jobId }),
  }),
  route({
    id: 'startRun',
    method: 'POST',
    path: '/jobs/{jobId}/runs',
    tag,
    summary: 'Start a run of a job',
    description:
      'The body may choose another kind of point than the job does, for this run alone. With `chainId` the run backs up the VM ' +
      'of that chain alone, and extends it. No body: as the job says.',
    access: operating,
    params,
    body: runChoiceSchema,
    status: 201,
    reply: runSchema,
    idempotent: true,
    location: '/runs/{id}',
    faults: ['NOT_FOUND', 'CONFLICT', 'IDEMPOTENCY_KEY_REUSED'],
    example: { body: { pointKind: 'full' }, reply: examples.run },
    serve: ({ ask, body, params: { jobId }, resourceId }) =>
      ask(startRun, { ...body, jobId, runId: resourceId<RunId>() }),
  }),
];
