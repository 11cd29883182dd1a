import {
  createPool,
  getPool,
  listPools,
  newPoolBodySchema,
  pageRequestSchema,
  poolIdSchema,
  poolViewSchema,
  type PoolId,
} from '@casvault/contracts';
import { z } from 'zod';
import * as examples from './examples.js';
import { administering, reading, route, type Call, type Route } from './route.js';

const tag = 'Pools';
/** Making a pool writes to its place and reads it back. */
const createDeadlineMs = 60_000;

type NewPool = z.output<typeof newPoolBodySchema>;
type Location = z.input<typeof createPool.request>['location'];

const locationOf = (body: NewPool, seal: Call['seal']): Location => {
  if (body.type === 'standard') return { kind: 'fs', path: body.path };
  const { name: _name, type: _type, secretKey, ...place } = body;
  return { kind: 's3', ...place, secretKey: seal(secretKey) };
};

export const poolRoutes: readonly Route[] = [
  route({
    id: 'createPool',
    method: 'POST',
    path: '/pools',
    tag,
    summary: 'Create a storage pool, or take up one that is already at that place',
    description:
      '`standard`: a directory that the backup hosts share. `object`: a bucket of an S3 store. ' +
      'Refused when the place cannot be written. `secretKey` is sealed on arrival and never shown again.',
    access: administering,
    body: newPoolBodySchema,
    status: 201,
    reply: poolViewSchema,
    idempotent: true,
    location: '/pools/{id}',
    deadlineMs: createDeadlineMs,
    faults: [
      'ALREADY_EXISTS',
      'IDEMPOTENCY_KEY_REUSED',
      'POOL_UNREACHABLE',
      'POOL_ACCESS_DENIED',
      'POOL_FULL',
      'POOL_FORMAT_UNSUPPORTED',
      'POOL_KEY_WRONG',
    ],
    example: {
      body: {
        type: 'object',
        name: examples.pool.name,
        endpoint: 'https://s3.example.org',
        bucket: 'backups',
        prefix: 'casvault/',
        accessKeyId: 'BACKUPKEY',
        secretKey: 'secret',
      },
      reply: examples.pool,
    },
    serve: ({ ask, body, seal, resourceId }) =>
      ask(createPool, {
        id: resourceId<PoolId>(),
        name: body.name,
        type: body.type,
        location: locationOf(body, seal),
      }),
  }),
  route({
    id: 'listPools',
    method: 'GET',
    path: '/pools',
    tag,
    summary: 'Storage pools',
    access: reading,
    query: pageRequestSchema,
    status: 200,
    reply: listPools.reply,
    faults: [],
    example: { reply: examples.page(examples.pool) },
    serve: ({ ask, query }) => ask(listPools, query),
  }),
  route({
    id: 'getPool',
    method: 'GET',
    path: '/pools/{poolId}',
    tag,
    summary: 'One storage pool',
    access: reading,
    params: z.object({ poolId: poolIdSchema }),
    status: 200,
    reply: poolViewSchema,
    faults: ['NOT_FOUND'],
    example: { reply: examples.pool },
    serve: ({ ask, params }) => ask(getPool, params),
  }),
];
