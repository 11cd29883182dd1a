import { getPoint, listChains, listPoints, pointIdSchema, pointSchema } from '@casvault/contracts';
import { z } from 'zod';
import * as examples from './examples.js';
import { reading, route, type Route } from './route.js';

const tag = 'Recovery points';

export const pointRoutes: readonly Route[] = [
  route({
    id: 'listPoints',
    method: 'GET',
    path: '/points',
    tag,
    summary: 'Recovery points',
    access: reading,
    query: listPoints.request,
    status: 200,
    reply: listPoints.reply,
    faults: [],
    example: { reply: examples.page(examples.point) },
    serve: ({ ask, query }) => ask(listPoints, query),
  }),
  route({
    id: 'getPoint',
    method: 'GET',
    path: '/points/{pointId}',
    tag,
    summary: 'One recovery point with its disks',
    access: reading,
    params: z.object({ pointId: pointIdSchema }),
    status: 200,
    reply: pointSchema,
    faults: ['NOT_FOUND'],
    example: { reply: examples.point },
    serve: ({ ask, params }) => ask(getPoint, params),
  }),
  route({
    id: 'listChains',
    method: 'GET',
    path: '/chains',
    tag,
    summary: 'Chains of recovery points, of one VM or of all',
    access: reading,
    query: listChains.request,
    status: 200,
    reply: listChains.reply,
    faults: [],
    example: { reply: examples.page(examples.chain) },
    serve: ({ ask, query }) => ask(listChains, query),
  }),
];
