import { z } from 'zod';

/** Services that own contracts; the second token of every subject. */
export type Owner = 'inventory' | 'scheduler' | 'snapshot-engine' | 'data-mover' | 'licensing-auth';

interface Contract<K extends 'query' | 'command' | 'event'> {
  readonly contract: K;
  /** `qry|cmd|evt.<owner>.<name>.v<version>`: the version lives in the subject and is never defaulted. */
  readonly subject: string;
  readonly owner: Owner;
  readonly name: string;
  readonly version: number;
}

/** Core NATS request/reply, answered within a deadline. Safe to send twice (no effect, or idempotent by an id in the request). */
export interface Query<
  Req extends z.ZodType = z.ZodType,
  Rep extends z.ZodType = z.ZodType,
> extends Contract<'query'> {
  readonly request: Req;
  readonly reply: Rep;
}
/** JetStream work queue, handled at least once, idempotent by the id that its payload carries. */
export interface Command<P extends z.ZodType = z.ZodType> extends Contract<'command'> {
  readonly payload: P;
}
/** JetStream limits retention; what happened, in the past tense. Every interested service has its own durable consumer. */
export interface Event<P extends z.ZodType = z.ZodType> extends Contract<'event'> {
  readonly payload: P;
}

export const defineQuery = <Req extends z.ZodType, Rep extends z.ZodType>(
  owner: Owner,
  name: string,
  version: number,
  shape: { request: Req; reply: Rep },
): Query<Req, Rep> => ({
  contract: 'query',
  subject: `qry.${owner}.${name}.v${version}`,
  owner,
  name,
  version,
  ...shape,
});

export const defineCommand = <P extends z.ZodType>(
  owner: Owner,
  name: string,
  version: number,
  shape: { payload: P },
): Command<P> => ({
  contract: 'command',
  subject: `cmd.${owner}.${name}.v${version}`,
  owner,
  name,
  version,
  ...shape,
});

export const defineEvent = <P extends z.ZodType>(
  owner: Owner,
  name: string,
  version: number,
  shape: { payload: P },
): Event<P> => ({
  contract: 'event',
  subject: `evt.${owner}.${name}.v${version}`,
  owner,
  name,
  version,
  ...shape,
});

/** Cursor pagination: `cursor` is opaque, from the last page's `nextCursor`; null there means the end. */
export const pageRequestSchema = z.object({
  cursor: z.string().max(512).optional(),
  limit: z.coerce.number().int().min(1).max(500).default(50),
});
export type PageRequest = z.infer<typeof pageRequestSchema>;
export const pageOf = <T extends z.ZodType>(item: T) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() });

/** ISO 8601 instant in UTC. */
export const instantSchema = z.iso.datetime();
/** Bytes, MiB and so on are whole and not negative; up to 2^53-1 (8 PiB) by JSON's numbers. */
export const bytesSchema = z.number().int().min(0);
/** A secret sealed with the installation's key (`seal` in service-host): safe in messages and rows. */
export const sealedSchema = z.string().startsWith('sealed:v1:').brand<'Sealed'>();
export type Sealed = z.infer<typeof sealedSchema>;
/** Empty reply. */
export const emptySchema = z.object({});
