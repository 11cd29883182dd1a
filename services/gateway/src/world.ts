import type { Clock, Logger, Query, Sealed } from '@casvault/contracts';
import type { z } from 'zod';
import type { RunFeed } from './runs/run-feed.js';

/** Asks the services, by NATS in production. Rejects with a Fault, DEADLINE_EXCEEDED or DEPENDENCY_UNAVAILABLE included. */
export interface Services {
  request<Req extends z.ZodType, Rep extends z.ZodType>(
    query: Query<Req, Rep>,
    payload: z.input<Req>,
    options: { signal?: AbortSignal; deadlineMs?: number; actor?: string },
  ): Promise<z.output<Rep>>;
}

export interface Sealer {
  seal(clear: string): Sealed;
  open(sealed: Sealed): string;
}

/** Everything outside the HTTP surface, handed in: tests hand in their own. */
export interface World {
  readonly services: Services;
  readonly sealer: Sealer;
  readonly feed: RunFeed;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Whether messages can be sent now. */
  readonly isConnected: () => boolean;
  /** Aborts when the gateway stops: event streams end. */
  readonly stopping: AbortSignal;
  /** Of the product, shown by /healthz. */
  readonly version: string;
}
