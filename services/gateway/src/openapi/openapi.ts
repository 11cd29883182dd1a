import { Fault, problemSchema, type FaultCode } from '@casvault/contracts';
import type { z } from 'zod';
import { basePath, pathParameters, type Route } from '../api/route.js';
import { httpFaults } from '../http/fault-to-http.js';
import { problemOf } from '../http/problem.js';
import { cookieName } from '../http/session-cookie.js';
import { alertWebhook } from './alert-webhook.js';
import { JsonSchemas, type JsonSchema } from './json-schemas.js';

const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

const describeAccess = ({ access, sessionOnly }: Route): string => {
  const who =
    access === 'public' ? 'anybody' : access === 'signed-in' ? 'whoever is signed in' : access.join(', ');
  return `For: ${who}${sessionOnly === true ? ' (session, no API token)' : ''}.`;
};

const parameters = (route: Route, schemas: JsonSchemas): JsonSchema[] => {
  const path = pathParameters(route.path).map((name) => {
    const schema = route.params?.shape[name] as z.ZodType;
    return { name, in: 'path', required: true, schema: schemas.ofRequest(schema) };
  });
  const query = Object.entries(route.query?.shape ?? {}).map(([name, schema]) => ({
    name,
    in: 'query',
    required: false,
    schema: schemas.ofRequest(schema as z.ZodType),
  }));
  const key = route.idempotent === true ? [{ $ref: '#/components/parameters/IdempotencyKey' }] : [];
  return [...path, ...query, ...key];
};

/** One example by itself, several by name; the names are for people. */
const bodyExamples = ({ example, otherBodies }: Route): JsonSchema =>
  otherBodies === undefined
    ? { example: example.body }
    : {
        examples: Object.fromEntries(
          Object.entries({ usual: example.body, ...otherBodies }).map(([name, value]) => [name, { value }]),
        ),
      };

const requestBody = (route: Route, schemas: JsonSchemas): JsonSchema =>
  route.body === undefined
    ? {}
    : {
        requestBody: {
          required: true,
          content: {
            'application/json': {
              schema: schemas.reference(`${capitalised(route.id)}Body`, schemas.ofRequest(route.body)),
              ...bodyExamples(route),
            },
          },
        },
      };

const streamContent = (route: Route): JsonSchema => ({
  'text/event-stream': {
    schema: { type: 'string' },
    example: `event: run\ndata: ${JSON.stringify(route.example.reply)}\n\n`,
  },
});

const bytesContent: JsonSchema = {
  'application/octet-stream': { schema: { type: 'string', format: 'binary' } },
};

const contentOf = (route: Route, schemas: JsonSchemas): JsonSchema | undefined => {
  if (route.stream === true) return streamContent(route);
  if (route.bytes === true) return bytesContent;
  return (
    route.reply && {
      'application/json': { schema: schemas.ofReply(route.reply), example: route.example.reply },
    }
  );
};

const successResponse = (route: Route, schemas: JsonSchemas): JsonSchema => {
  const isPage = route.query !== undefined && 'cursor' in route.query.shape;
  const headers = {
    'X-Trace-Id': { $ref: '#/components/headers/TraceId' },
    ...(route.location === undefined ? {} : { Location: { $ref: '#/components/headers/Location' } }),
    ...(isPage ? { Link: { $ref: '#/components/headers/Link' } } : {}),
  };
  const content = contentOf(route, schemas);
  return { description: route.summary, headers, ...(content === undefined ? {} : { content }) };
};

/** Codes that every route may answer with, by what it takes. */
const expectedFaults = (route: Route): FaultCode[] => [
  ...((route.params ?? route.query ?? route.body) ? (['INPUT_INVALID'] as const) : []),
  ...(route.access === 'public' ? [] : (['UNAUTHENTICATED'] as const)),
  ...(typeof route.access !== 'string' || route.sessionOnly === true ? (['FORBIDDEN'] as const) : []),
  ...route.faults,
  'BUG',
  'DEADLINE_EXCEEDED',
  'DEPENDENCY_UNAVAILABLE',
];

const problemResponse = (codes: readonly FaultCode[]): JsonSchema => {
  const [code = 'BUG'] = codes;
  const fault = new Fault(code, 'says what is wrong, with names and values');
  const example = problemOf(fault, {
    path: `${basePath}/...`,
    traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
  });
  return {
    description: codes.map((each) => `\`${each}\`: ${httpFaults[each].title}`).join('. '),
    content: {
      'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' }, example },
    },
  };
};

/** One response a status, which names its codes; written once for all routes that share it. */
const problemResponses = (route: Route, shared: Map<string, JsonSchema>): JsonSchema => {
  const byStatus = Map.groupBy(new Set(expectedFaults(route)), (code) => httpFaults[code].status);
  return Object.fromEntries(
    [...byStatus].map(([status, codes]) => {
      const name = codes.join('.');
      shared.set(name, problemResponse(codes));
      return [String(status), { $ref: `#/components/responses/${name}` }];
    }),
  );
};

const operation = (route: Route, schemas: JsonSchemas, problems: Map<string, JsonSchema>): JsonSchema => ({
  operationId: route.id,
  tags: [route.tag],
  summary: route.summary,
  description: [route.description, describeAccess(route)].filter(Boolean).join('\n\n'),
  ...(route.access === 'public' ? { security: [] } : {}),
  parameters: parameters(route, schemas),
  ...requestBody(route, schemas),
  responses: {
    [String(route.status)]: successResponse(route, schemas),
    ...problemResponses(route, problems),
  },
});

const components = (schemas: JsonSchemas, problems: Map<string, JsonSchema>): JsonSchema => ({
  schemas: schemas.components(),
  responses: Object.fromEntries([...problems].sort(([left], [right]) => (left < right ? -1 : 1))),
  parameters: {
    IdempotencyKey: {
      name: 'Idempotency-Key',
      in: 'header',
      required: false,
      description:
        'Names this request: sent again with the same key by the same caller, it makes nothing twice and answers with what ' +
        'was made. Another body under the same key is refused with IDEMPOTENCY_KEY_REUSED.',
      schema: { type: 'string', minLength: 1, maxLength: 255, pattern: '^[\\x21-\\x7e]+$' },
      example: '"8e03978e-40d5-43dd-bc93-6894a57f9324"',
    },
  },
  headers: {
    TraceId: { description: 'To find the request in traces and logs', schema: { type: 'string' } },
    Location: { description: 'Where what was made is shown', schema: { type: 'string' } },
    Link: {
      description: 'The next page, `rel="next"` (RFC 8288); absent at the end',
      schema: { type: 'string' },
    },
  },
  securitySchemes: {
    bearer: { type: 'http', scheme: 'bearer', description: 'A session token or an API token' },
    cookie: { type: 'apiKey', in: 'cookie', name: cookieName, description: 'A session of a browser' },
  },
});

const description = `REST API of Casvault: block-level backup and recovery of virtual machines on H3C CAS.

Errors are problem details (RFC 9457) with a stable \`code\`. Lists are pages: send \`nextCursor\` back as \`cursor\`, or
follow the \`Link\` header; \`nextCursor\` is null at the end. Requests with fields that are not known are refused; replies may
gain fields, and clients must ignore those that they do not know. 503 comes with \`Retry-After\`.`;

/** The OpenAPI 3.1 document of a route table. The same table gives the same document, byte for byte. */
export const openApiOf = (routes: readonly Route[], version: string): Record<string, unknown> => {
  const schemas = new JsonSchemas();
  schemas.ofReply(problemSchema);
  const problems = new Map<string, JsonSchema>();
  const paths: Record<string, JsonSchema> = {};
  for (const route of routes)
    (paths[route.path] ??= {})[route.method.toLowerCase()] = operation(route, schemas, problems);
  return {
    openapi: '3.1.1',
    info: {
      title: 'Casvault',
      version,
      description,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: basePath }],
    security: [{ bearer: [] }, { cookie: [] }],
    tags: [...new Set(routes.map(({ tag }) => tag))].map((name) => ({ name })),
    paths,
    webhooks: { alertRaised: alertWebhook(schemas) },
    components: components(schemas, problems),
  };
};
