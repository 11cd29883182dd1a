import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  contentFormatSchema,
  contentTicketSchema,
  Fault,
  keepReading,
  type Clock,
  type ContentFormat,
  type ContentTicket,
  type Logger,
} from '@casvault/contracts';
import { openPointReader } from '@casvault/data-path';
import { type MessagingClient } from '@casvault/messaging';
import { openObjectStore } from '@casvault/object-store';
import { locationOf, type Unseal } from '../worker/pool-place.js';
import { qcow2Of, rawOf, type Content } from './content.js';
import { rangeOf } from './range.rules.js';

export const contentPath = '/v1/content';
const keepEveryMs = 60_000;
const keepDeadlineMs = 10_000;
/** A client that takes nothing for so long has left. */
const idleMs = 120_000;

export interface ContentServerOptions {
  readonly unseal: Unseal;
  readonly client: Pick<MessagingClient, 'request'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Downloads at the same time. Memory for each: a `PointReader`, three reads of 1 MiB, and a `Qcow2Image` for that format. */
  readonly downloads: number;
}

/**
 * Hands out disks of points to whoever brings a ticket, once for each ticket (F9). It holds nothing but the requests under way: what ends
 * in the middle is asked for again, in raw from where it ended.
 */
export class ContentServer {
  readonly #o: ContentServerOptions;
  readonly #server: Server;
  readonly #ending = new AbortController();
  readonly #underWay = new Set<Promise<void>>();
  /** Tickets that were used, until they expire: at most as many as were issued within a minute. */
  readonly #used = new Map<string, number>();

  constructor(options: ContentServerOptions) {
    this.#o = options;
    this.#server = createServer((request, response) => {
      const answered = this.#answer(request, response);
      this.#underWay.add(answered);
      void answered.finally(() => this.#underWay.delete(answered));
    });
    this.#server.timeout = idleMs;
  }

  /** Returns the port. */
  async listen(port: number): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject).listen(port, resolve);
    });
    return (this.#server.address() as AddressInfo).port;
  }

  /** Cuts off what is under way. */
  async close(): Promise<void> {
    this.#ending.abort(new Fault('STOPPED', 'the mover ends'));
    this.#server.close();
    await Promise.all([...this.#underWay]);
    this.#server.closeAllConnections();
  }

  /** Never rejects. */
  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const left = new AbortController();
    response.once('close', () => left.abort(new Fault('STOPPED', 'the reader left')));
    const signal = AbortSignal.any([left.signal, this.#ending.signal]);
    try {
      const { ticket, format } = this.#admit(request);
      await this.#serve(ticket, format, request, response, signal);
    } catch (error) {
      const fault = Fault.from(error);
      if (!left.signal.aborted) this.#o.logger.warn({ err: fault }, 'content not served');
      if (response.headersSent) response.destroy();
      else refuse(response, fault);
    }
  }

  #admit(request: IncomingMessage): { ticket: ContentTicket; format: ContentFormat } {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://mover');
    const format = contentFormatSchema.safeParse(searchParams.get('format') ?? 'raw');
    if (request.method !== 'GET' || pathname !== contentPath || !format.success)
      throw new Fault('NOT_FOUND', `only GET ${contentPath}?format=raw|qcow2 is served`);
    const ticket = this.#ticketOf(request);
    const now = this.#o.clock.now().getTime();
    for (const [id, until] of this.#used) if (until <= now) this.#used.delete(id);
    const expiresAt = Date.parse(ticket.expiresAt);
    if (expiresAt <= now || this.#used.has(ticket.readingId))
      throw new Fault('UNAUTHENTICATED', 'the ticket has expired or was used');
    if (this.#underWay.size > this.#o.downloads)
      throw new Fault('DEPENDENCY_UNAVAILABLE', `${this.#o.downloads} downloads go on here already`);
    this.#used.set(ticket.readingId, expiresAt);
    return { ticket, format: format.data };
  }

  #ticketOf(request: IncomingMessage): ContentTicket {
    const sealed = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
    try {
      return contentTicketSchema.parse(JSON.parse(this.#o.unseal(sealed)));
    } catch {
      throw new Fault('UNAUTHENTICATED', 'this is no ticket of this installation');
    }
  }

  async #serve(
    ticket: ContentTicket,
    format: ContentFormat,
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    const { pool, chainId, pointId, target } = ticket;
    const over = new AbortController();
    const reading = AbortSignal.any([signal, over.signal]);
    const kept = this.#keep(ticket, reading);
    const store = openObjectStore(locationOf(pool, this.#o.unseal));
    try {
      const reader = await openPointReader(store, { chainId, pointId, target, key: null, signal: reading });
      const content = format === 'raw' ? rawOf(reader) : await qcow2Of(reader);
      await send(content, etagOf(ticket, format), request, response, reading);
    } finally {
      over.abort(new Fault('STOPPED', 'the reading is over'));
      await store.close();
      await kept;
    }
  }

  /** The point is not deleted while it is read. Never rejects. */
  async #keep({ readingId }: ContentTicket, signal: AbortSignal): Promise<void> {
    const { clock, client, logger } = this.#o;
    for (;;) {
      await clock.sleep(keepEveryMs, signal);
      if (signal.aborted) return;
      try {
        await client.request(keepReading, { readingId }, { signal, deadlineMs: keepDeadlineMs });
      } catch (error) {
        logger.warn({ err: error, readingId }, 'reading not kept');
      }
    }
  }
}

/** Null when the catalogue does not know the content's identity. */
const etagOf = ({ mapRoot }: ContentTicket, format: ContentFormat): string | null =>
  mapRoot === null ? null : `"${mapRoot}${format === 'raw' ? '' : `-${format}`}"`;

const send = async (
  content: Content,
  etag: string | null,
  { headers }: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> => {
  const { sizeBytes, ranges } = content;
  const ifRange = headers['if-range']?.toString();
  const range = ranges ? rangeOf(sizeBytes, { range: headers.range, ifRange }, etag) : 'all';
  const common = {
    'Content-Type': 'application/octet-stream',
    'Accept-Ranges': ranges ? 'bytes' : 'none',
    ...(etag === null ? {} : { ETag: etag }),
  };
  if (range === 'unsatisfiable') {
    response.writeHead(416, { ...common, 'Content-Range': `bytes */${sizeBytes}` }).end();
    return;
  }
  const { first, last } = range === 'all' ? { first: 0, last: sizeBytes - 1 } : range;
  const part = range === 'all' ? {} : { 'Content-Range': `bytes ${first}-${last}/${sizeBytes}` };
  response.writeHead(range === 'all' ? 200 : 206, { ...common, ...part, 'Content-Length': last - first + 1 });
  const bytes = content.bytes(first, last + 1);
  await pipeline(Readable.from(bytes, { objectMode: true, highWaterMark: 1 }), response, { signal });
};

const statuses: Partial<Record<Fault['code'], number>> = {
  NOT_FOUND: 404,
  UNAUTHENTICATED: 401,
  INPUT_INVALID: 400,
};

const refuse = (response: ServerResponse, fault: Fault): void => {
  const body = JSON.stringify(fault.toJSON());
  const status = statuses[fault.code] ?? (fault.kind === 'unavailable' ? 503 : 500);
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(body);
};
