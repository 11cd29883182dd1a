import {
  chainIdSchema,
  chainSchema,
  holdBodySchema,
  holdChain,
  holdPoint,
  pointIdSchema,
  pointSchema,
} from '@casvault/contracts';
import { z } from 'zod';
import * as examples from './examples.js';
import { operating, route, type Route } from './route.js';

const tag = 'Recovery points';
const ofPoint = z.object({ pointId: pointIdSchema });
const ofChain = z.object({ chainId: chainIdSchema });
const body = { reason: examples.hold.reason };
const description = 'What bears a legal hold is not deleted by anybody. Sent again, it replaces the reason.';

export const holdRoutes: readonly Route[] = [
  route({
    id: 'holdPoint',
    method: 'PUT',
    path: '/points/{pointId}/hold',
    tag,
    summary: 'Put a recovery point under a legal hold',
    description,
    access: operating,
    params: ofPoint,
    body: holdBodySchema,
    status: 200,
    reply: pointSchema,
    faults: ['NOT_FOUND', 'CONFLICT'],
    example: { body, reply: { ...examples.point, hold: examples.hold } },
    serve: ({ ask, params: { pointId }, body: { reason } }) => ask(holdPoint, { pointId, reason }),
  }),
  route({
    id: 'releasePoint',
    method: 'DELETE',
    path: '/points/{pointId}/hold',
    tag,
    summary: 'Clear the legal hold of a recovery point',
    access: operating,
    params: ofPoint,
    status: 200,
    reply: pointSchema,
    faults: ['NOT_FOUND'],
    example: { reply: { ...examples.point, hold: null } },
    serve: ({ ask, params: { pointId } }) => ask(holdPoint, { pointId, reason: null }),
  }),
  route({
    id: 'holdChain',
    method: 'PUT',
    path: '/chains/{chainId}/hold',
    tag,
    summary: 'Put a chain under a legal hold, with all its points, also those to come',
    description,
    access: operating,
    params: ofChain,
    body: holdBodySchema,
    status: 200,
    reply: chainSchema,
    faults: ['NOT_FOUND', 'CONFLICT'],
    example: { body, reply: { ...examples.chain, hold: examples.hold } },
    serve: ({ ask, params: { chainId }, body: { reason } }) => ask(holdChain, { chainId, reason }),
  }),
  route({
    id: 'releaseChain',
    method: 'DELETE',
    path: '/chains/{chainId}/hold',
    tag,
    summary: 'Clear the legal hold of a chain',
    access: operating,
    params: ofChain,
    status: 200,
    reply: chainSchema,
    faults: ['NOT_FOUND'],
    example: { reply: { ...examples.chain, hold: null } },
    serve: ({ ask, params: { chainId } }) => ask(holdChain, { chainId, reason: null }),
  }),
];
