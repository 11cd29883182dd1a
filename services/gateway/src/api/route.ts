import type { FaultCode, Principal, Query, Role, RunId, Sealed } from '@casvault/contracts';
import { z } from 'zod';
import { strict } from './strict.js';

/** Every path of the table stands below this one. */
export const basePath = '/api/v1';

/** B4: who may. An auditor reads; an operator also works; an administrator also sets up. */
export const reading = ['administrator', 'operator', 'auditor'] as const satisfies readonly Role[];
export const operating = ['administrator', 'operator'] as const satisfies readonly Role[];
export const administering = ['administrator'] as const satisfies readonly Role[];

/** `public`: nobody needs to sign in. `signed-in`: whatever the roles. */
export type Access = 'public' | 'signed-in' | readonly Role[];

export type Ask = <Req extends z.ZodType, Rep extends z.ZodType>(
  query: Query<Req, Rep>,
  payload: z.input<Req>,
) => Promise<z.output<Rep>>;

/** Who calls, by a bearer token or a cookie. */
export interface Caller {
  readonly principal: Principal;
  readonly tokenHash: string;
}

/** One event of a stream of server-sent events; no `event`: a comment that keeps the connection open. */
export interface StreamEvent {
  readonly event: 'run' | 'end' | null;
  readonly data: unknown;
}

/** Bytes that a mover streams to whoever has the ticket. */
export class Content {
  constructor(
    readonly url: string,
    readonly ticket: string,
    readonly fileName: string,
  ) {}
}

/** What a route may use of the world: one request's view of the gateway. */
export interface Call<P = unknown, Q = unknown, B = unknown> {
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  /** Asks the service that owns the query, within the route's deadline. */
  readonly ask: Ask;
  /** The id of what this request makes: the same for the same caller, path and Idempotency-Key, else a new one. */
  readonly resourceId: <T extends string>() => T;
  /** A BUG fault on a public route without a caller. */
  readonly caller: () => Caller;
  readonly clientAddress: string;
  readonly seal: (clear: string) => Sealed;
  readonly open: (sealed: Sealed) => string;
  readonly setSessionCookie: (token: string, expiresAt: string) => void;
  /** Ends what the caller's token opens: drops it from the cache and clears the cookie. */
  readonly forgetSession: () => void;
  /** Events of a run; ends with the run, the client or the gateway. */
  readonly watchRun: (runId: RunId) => AsyncIterable<StreamEvent>;
  readonly health: () => Health;
  readonly openApi: () => unknown;
}

export const healthSchema = z.object({ status: z.enum(['ok', 'unavailable']), version: z.string() });
export type Health = z.infer<typeof healthSchema>;

type Nothing = z.ZodObject<Record<never, never>>;

/**
 * One operation of the API: the single truth from which come the controllers, the guard, the OpenAPI document and the tests.
 * Field names are closed: what the schemas do not know is refused.
 */
export interface RouteSpec<
  P extends z.ZodObject = Nothing,
  Q extends z.ZodObject = Nothing,
  B extends z.ZodType = Nothing,
  R extends z.ZodType = z.ZodVoid,
> {
  /** operationId */
  readonly id: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Below `basePath`, with `{name}` for parameters. */
  readonly path: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  readonly access: Access;
  /** Refuses API tokens: only somebody who has signed in may. */
  readonly sessionOnly?: boolean;
  readonly params?: P;
  readonly query?: Q;
  readonly body?: B;
  readonly status: 200 | 201 | 202 | 204;
  /** Absent: no body (or a stream). */
  readonly reply?: R;
  /** Answers with server-sent events instead of a reply. */
  readonly stream?: boolean;
  /** Answers with the bytes of a `Content` instead of a reply. */
  readonly bytes?: boolean;
  /** Takes an Idempotency-Key. */
  readonly idempotent?: boolean;
  /** Path of what was made, with `{id}` from the reply. */
  readonly location?: string;
  /** How long the services may take together. */
  readonly deadlineMs?: number;
  /** Codes that a caller should expect of this route, beyond those of every route. */
  readonly faults: readonly FaultCode[];
  readonly example: { readonly body?: unknown; readonly reply?: unknown };
  /** Where a body may be of several kinds: one of each other kind, by what it is. */
  readonly otherBodies?: Readonly<Record<string, unknown>>;
  serve(
    call: Call<z.output<P>, z.output<Q>, z.output<B>>,
  ): Promise<z.output<R> | Content> | AsyncIterable<StreamEvent>;
}

/** A route of any types: `serve` is a method, so that every RouteSpec is one. */
export type Route = RouteSpec<z.ZodObject, z.ZodObject, z.ZodType, z.ZodType>;

/** Infers the types of `serve` from the schemas beside it, and closes those of the request. */
export const route = <
  P extends z.ZodObject = Nothing,
  Q extends z.ZodObject = Nothing,
  B extends z.ZodType = Nothing,
  R extends z.ZodType = z.ZodVoid,
>(
  spec: RouteSpec<P, Q, B, R>,
): Route => ({
  ...spec,
  ...(spec.query === undefined ? {} : { query: strict(spec.query) }),
  ...(spec.body === undefined ? {} : { body: strict(spec.body) }),
});

/** Parameters that a path names, in their order. */
export const pathParameters = (path: string): string[] =>
  [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? '');
