import { Fault } from '@casvault/contracts';
import { z } from 'zod';
import { healthSchema, route, type Route } from './route.js';

const tag = 'Service';

export const serviceRoutes: readonly Route[] = [
  route({
    id: 'getHealth',
    method: 'GET',
    path: '/healthz',
    tag,
    summary: 'Whether the gateway serves and reaches its messages',
    access: 'public',
    status: 200,
    reply: healthSchema,
    faults: ['DEPENDENCY_UNAVAILABLE'],
    example: { reply: { status: 'ok', version: '0.1.0' } },
    serve: async ({ health }) => {
      const now = health();
      if (now.status !== 'ok')
        throw new Fault('DEPENDENCY_UNAVAILABLE', 'the gateway has no connection to NATS');
      return now;
    },
  }),
  route({
    id: 'getOpenApi',
    method: 'GET',
    path: '/openapi.json',
    tag,
    summary: 'This document',
    access: 'public',
    status: 200,
    reply: z.record(z.string(), z.unknown()),
    faults: [],
    example: { reply: { openapi: '3.1.1' } },
    serve: async ({ openApi }) => openApi() as Record<string, unknown>,
  }),
];
