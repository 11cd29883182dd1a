import {
  cancelDeletion,
  confirmDeletion,
  createDeletion,
  deletionIdSchema,
  deletionSchema,
  getDeletion,
  listDeletions,
  newDeletionBodySchema,
  type DeletionId,
} from '@casvault/contracts';
import { z } from 'zod';
import * as examples from './examples.js';
import { operating, reading, route, type Route } from './route.js';

const tag = 'Deletions';
const params = z.object({ deletionId: deletionIdSchema });
const { points: _points, successorIds: _successorIds, ...listed } = examples.deletion;

export const deletionRoutes: readonly Route[] = [
  route({
    id: 'createDeletion',
    method: 'POST',
    path: '/deletions',
    tag,
    summary: 'Preview a deletion of points or of a chain',
    description:
      'Nothing is deleted before the deletion is confirmed. Its `points` are exactly those that go; when it is `ready`, ' +
      '`freedBytes` says what that frees, as measured in the pool. `cascade` takes every point that depends on those named, ' +
      'directly or not; `single` takes only those named, and their successors stay, complete. Name points of one chain ' +
      '(`pointIds`), or a whole chain (`chainId`).',
    access: operating,
    body: newDeletionBodySchema,
    status: 201,
    reply: deletionSchema,
    idempotent: true,
    location: '/deletions/{id}',
    faults: ['NOT_FOUND', 'CONFLICT', 'POINT_IN_USE', 'POINT_HELD', 'IDEMPOTENCY_KEY_REUSED'],
    example: {
      body: { pointIds: [examples.ids.point], mode: 'cascade' },
      reply: { ...examples.deletion, state: 'measuring', freedBytes: null, expiresAt: null },
    },
    serve: ({ ask, body, resourceId }) =>
      ask(createDeletion, { ...body, deletionId: resourceId<DeletionId>() }),
  }),
  route({
    id: 'listDeletions',
    method: 'GET',
    path: '/deletions',
    tag,
    summary: 'Deletions, newest first, without their points',
    access: reading,
    query: listDeletions.request,
    status: 200,
    reply: listDeletions.reply,
    faults: [],
    example: { reply: examples.page(listed) },
    serve: ({ ask, query }) => ask(listDeletions, query),
  }),
  route({
    id: 'getDeletion',
    method: 'GET',
    path: '/deletions/{deletionId}',
    tag,
    summary: 'One deletion with the points that go',
    access: reading,
    params,
    status: 200,
    reply: deletionSchema,
    faults: ['NOT_FOUND'],
    example: { reply: examples.deletion },
    serve: ({ ask, params: { deletionId } }) => ask(getDeletion, { deletionId }),
  }),
  route({
    id: 'confirmDeletion',
    method: 'POST',
    path: '/deletions/{deletionId}/confirmation',
    tag,
    summary: 'Delete what was previewed',
    description:
      'Exactly the points shown, else nothing: `CONFLICT` when one that depends on them has come since. From here on it cannot ' +
      'be stopped. A deletion that failed after it was confirmed can be confirmed again, and goes on.',
    access: operating,
    params,
    status: 200,
    reply: deletionSchema,
    faults: ['NOT_FOUND', 'CONFLICT', 'POINT_IN_USE', 'POINT_HELD'],
    example: {
      reply: { ...examples.deletion, state: 'deleting', expiresAt: null, confirmedBy: 'admin' },
    },
    serve: ({ ask, params: { deletionId } }) => ask(confirmDeletion, { deletionId }),
  }),
  route({
    id: 'cancelDeletion',
    method: 'DELETE',
    path: '/deletions/{deletionId}',
    tag,
    summary: 'Cancel a deletion that was not confirmed',
    access: operating,
    params,
    status: 200,
    reply: deletionSchema,
    faults: ['NOT_FOUND', 'CONFLICT'],
    example: {
      reply: {
        ...examples.deletion,
        state: 'cancelled',
        expiresAt: null,
        finishedAt: '2026-03-02T21:05:00Z',
      },
    },
    serve: ({ ask, params: { deletionId } }) => ask(cancelDeletion, { deletionId }),
  }),
];
