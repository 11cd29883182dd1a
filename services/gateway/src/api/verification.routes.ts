import {
  createVerification,
  getPointVerification,
  getVerification,
  pointIdSchema,
  stopVerification,
  verificationBodySchema,
  verificationIdSchema,
  verificationSchema,
  type VerificationId,
} from '@casvault/contracts';
import { z } from 'zod';
import { verification } from './verification-examples.js';
import { operating, reading, route, type Route } from './route.js';

const tag = 'Recovery points';
const params = z.object({ verificationId: verificationIdSchema });
const ofPoint = z.object({ pointId: pointIdSchema });

export const verificationRoutes: readonly Route[] = [
  route({
    id: 'createVerification',
    method: 'POST',
    path: '/points/{pointId}/verification',
    tag,
    summary: 'Verify a recovery point',
    description:
      'A mover of `group` reads what the point has in its pool. `stored`: every object is there, whole, with the hashes it was written ' +
      'with. `content`: every block of every disk can be restored and has its id; takes as long as a restore. The point is not deleted ' +
      'meanwhile, and bears what was found as its `verification`.',
    access: operating,
    params: ofPoint,
    body: verificationBodySchema,
    status: 202,
    reply: verificationSchema,
    idempotent: true,
    location: '/verifications/{id}',
    faults: ['NOT_FOUND', 'CONFLICT', 'IDEMPOTENCY_KEY_REUSED'],
    example: {
      body: { depth: 'content' },
      reply: {
        ...verification,
        state: 'running',
        finishedAt: null,
        checkedBytes: 0,
        disks: [],
        objects: [],
      },
    },
    serve: ({ ask, params: { pointId }, body, resourceId }) =>
      ask(createVerification, { ...body, pointId, verificationId: resourceId<VerificationId>() }),
  }),
  route({
    id: 'getPointVerification',
    method: 'GET',
    path: '/points/{pointId}/verification',
    tag,
    summary: 'The newest verification of a recovery point',
    access: reading,
    params: ofPoint,
    status: 200,
    reply: verificationSchema,
    faults: ['NOT_FOUND'],
    example: { reply: verification },
    serve: ({ ask, params: { pointId } }) => ask(getPointVerification, { pointId }),
  }),
  route({
    id: 'getVerification',
    method: 'GET',
    path: '/verifications/{verificationId}',
    tag,
    summary: 'One verification: how far it is, and what it found',
    description:
      'At most 100 objects, and of each disk at most 100 damaged places, are named; `damagedBytes` counts all. `failed` says nothing about the point.',
    access: reading,
    params,
    status: 200,
    reply: verificationSchema,
    faults: ['NOT_FOUND'],
    example: { reply: verification },
    serve: ({ ask, params: { verificationId } }) => ask(getVerification, { verificationId }),
  }),
  route({
    id: 'stopVerification',
    method: 'DELETE',
    path: '/verifications/{verificationId}',
    tag,
    summary: 'Stop a verification',
    description: 'One that has ended stays as it is.',
    access: operating,
    params,
    status: 200,
    reply: verificationSchema,
    faults: ['NOT_FOUND'],
    example: {
      reply: { ...verification, state: 'stopped', disks: [], objects: [] },
    },
    serve: ({ ask, params: { verificationId } }) => ask(stopVerification, { verificationId }),
  }),
];
