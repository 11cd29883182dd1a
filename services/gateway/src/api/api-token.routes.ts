import {
  apiTokenIdSchema,
  createApiToken,
  createdApiTokenSchema,
  listApiTokens,
  newApiTokenBodySchema,
  pageRequestSchema,
  revokeApiToken,
  type ApiTokenId,
} from '@casvault/contracts';
import { z } from 'zod';
import * as examples from './examples.js';
import { route, type Route } from './route.js';

const tag = 'API tokens';

export const apiTokenRoutes: readonly Route[] = [
  route({
    id: 'createApiToken',
    method: 'POST',
    path: '/api-tokens',
    tag,
    summary: 'Make an API token with the roles of its owner',
    description: 'The token is shown this once. It takes a signed-in session: a token cannot make tokens.',
    access: 'signed-in',
    sessionOnly: true,
    body: newApiTokenBodySchema,
    status: 201,
    reply: createdApiTokenSchema,
    idempotent: true,
    faults: ['ALREADY_EXISTS', 'IDEMPOTENCY_KEY_REUSED'],
    example: {
      body: { name: examples.apiToken.name },
      reply: {
        id: examples.ids.apiToken,
        name: examples.apiToken.name,
        token: 'cvt_Zm9yIHRoZSBleGFtcGxlIG9ubHk',
        expiresAt: null,
      },
    },
    serve: async ({ ask, body, caller, resourceId, open }) => {
      const { userId } = caller().principal;
      const made = await ask(createApiToken, { id: resourceId<ApiTokenId>(), userId, ...body });
      return { ...made, token: open(made.token) };
    },
  }),
  route({
    id: 'listApiTokens',
    method: 'GET',
    path: '/api-tokens',
    tag,
    summary: "The caller's API tokens",
    access: 'signed-in',
    query: pageRequestSchema,
    status: 200,
    reply: listApiTokens.reply,
    faults: [],
    example: { reply: examples.page(examples.apiToken) },
    serve: ({ ask, query, caller }) => ask(listApiTokens, { ...query, userId: caller().principal.userId }),
  }),
  route({
    id: 'revokeApiToken',
    method: 'DELETE',
    path: '/api-tokens/{apiTokenId}',
    tag,
    summary: 'Revoke an API token',
    description: 'Gateways may go on taking it for 10 s.',
    access: 'signed-in',
    sessionOnly: true,
    params: z.object({ apiTokenId: apiTokenIdSchema }),
    status: 204,
    faults: ['NOT_FOUND'],
    example: {},
    serve: async ({ ask, params, caller }) => {
      await ask(revokeApiToken, { userId: caller().principal.userId, id: params.apiTokenId });
    },
  }),
];
