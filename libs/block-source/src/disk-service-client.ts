import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import {
  checkpointSchema,
  endedItemSchema,
  Fault,
  faultSchema,
  healthSchema,
  openingSchema,
  type Checkpoint,
  type DiskServiceHealth,
  type EndedItem,
  type Opening,
  type OpeningId,
  type OpenRequest,
  type RunItemId,
} from '@casvault/contracts';
import { context, propagation, SpanKind, SpanStatusCode, trace, type Span } from '@opentelemetry/api';
import { z } from 'zod';

export interface DiskServiceAccess {
  /** `http://10.0.0.11:8192` or `https://...`; a path in it is ignored. */
  readonly url: string;
  readonly token: string;
  /** PEM texts: the authority of the service's certificate, and a certificate of ours where it asks for one. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
}

interface Call {
  /** Names the span. */
  readonly operation:
    | 'open'
    | 'get'
    | 'renew'
    | 'close'
    | 'health'
    | 'checkpoints'
    | 'remove-checkpoint'
    | 'end-item'
    | 'ended-item';
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: unknown;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

interface Reply {
  readonly status: number;
  readonly text: string;
}

/** Opening and closing wait for libvirt, which itself waits half a minute for a busy VM, and for a writer's last flush. */
const slowMs = 240_000;
const quickMs = 30_000;
/** 64 disks, 600 bytes each, with room. */
const maxReplyBytes = 1 << 20;

const checkpointListSchema = z.object({ items: z.array(checkpointSchema) });

const problemSchema = z.object({
  code: faultSchema.shape.code,
  detail: z.string(),
  details: faultSchema.shape.details,
});

/**
 * The disk service's control API as contracts/disk-service.ts promises it; every call is safe to repeat. Each is a
 * client span of the active trace, which the service takes up. Throws DISK_SERVICE_UNREACHABLE (no connection, no answer in time, or no disk service there),
 * DISK_SERVICE_UNAUTHORISED, STOPPED when `signal` aborts, and the fault that the service answered with.
 *
 * Memory: one reply of at most 1 MiB a call.
 */
export class DiskServiceClient {
  readonly #access: DiskServiceAccess;
  readonly #url: URL;

  constructor(access: DiskServiceAccess) {
    if (!URL.canParse(access.url) || !/^https?:$/.test(new URL(access.url).protocol)) {
      throw new Fault('INPUT_INVALID', `the disk service's URL must be http or https: ${access.url}`);
    }
    this.#access = access;
    this.#url = new URL(access.url);
  }

  /** Opens, or finds the same opening open: then its lease is renewed. Throws CONFLICT when the id means another one. */
  async open(
    openingId: OpeningId,
    request: OpenRequest,
    options: { signal?: AbortSignal } = {},
  ): Promise<Opening> {
    const path = `/v1/openings/${openingId}`;
    return await this.#json(openingSchema, {
      operation: 'open',
      method: 'PUT',
      path,
      body: request,
      timeoutMs: slowMs,
      ...only(options),
    });
  }

  /** Throws NOT_FOUND when it was never there or was closed, CAPTURE_LOST when its lease or the host ended it. */
  async get(openingId: OpeningId, options: { signal?: AbortSignal } = {}): Promise<Opening> {
    const path = `/v1/openings/${openingId}`;
    return await this.#json(openingSchema, {
      operation: 'get',
      method: 'GET',
      path,
      timeoutMs: quickMs,
      ...only(options),
    });
  }

  /** Throws CAPTURE_LOST when it is not open any more. */
  async renew(
    openingId: OpeningId,
    leaseSeconds: number,
    options: { signal?: AbortSignal } = {},
  ): Promise<Opening> {
    const path = `/v1/openings/${openingId}/renewals`;
    const body = { leaseSeconds };
    return await this.#json(openingSchema, {
      operation: 'renew',
      method: 'POST',
      path,
      body,
      timeoutMs: quickMs,
      ...only(options),
    });
  }

  /** Ends it and removes what it made on the host, its checkpoint too unless that is kept. Gone already is no error. */
  async close(
    openingId: OpeningId,
    options: { keepCheckpoint?: boolean; signal?: AbortSignal } = {},
  ): Promise<void> {
    const keep = options.keepCheckpoint === true ? 'true' : 'false';
    const path = `/v1/openings/${openingId}?keepCheckpoint=${keep}`;
    await this.#send({ operation: 'close', method: 'DELETE', path, timeoutMs: slowMs, ...only(options) });
  }

  async health(options: { signal?: AbortSignal } = {}): Promise<DiskServiceHealth> {
    return await this.#json(healthSchema, {
      operation: 'health',
      method: 'GET',
      path: '/v1/health',
      timeoutMs: quickMs,
      ...only(options),
    });
  }

  /** Checkpoints of this product on the VM, also bitmaps of ours that libvirt knows nothing of. Throws VM_NOT_FOUND. */
  async checkpoints(vmUuid: string, options: { signal?: AbortSignal } = {}): Promise<Checkpoint[]> {
    const path = `/v1/vms/${encodeURIComponent(vmUuid)}/checkpoints`;
    const { items } = await this.#json(checkpointListSchema, {
      operation: 'checkpoints',
      method: 'GET',
      path,
      timeoutMs: slowMs,
      ...only(options),
    });
    return items;
  }

  /**
   * Removes a checkpoint with its bitmaps. Gone already is no error. Throws VM_NOT_FOUND, INPUT_INVALID for a name that is none of
   * this product's, and CONFLICT while an opening counts from it.
   */
  async removeCheckpoint(
    vmUuid: string,
    name: string,
    options: { signal?: AbortSignal } = {},
  ): Promise<void> {
    const path = `/v1/vms/${encodeURIComponent(vmUuid)}/checkpoints/${encodeURIComponent(name)}`;
    await this.#send({
      operation: 'remove-checkpoint',
      method: 'DELETE',
      path,
      timeoutMs: slowMs,
      ...only(options),
    });
  }

  /** No volume is opened for the item from now on; one that is open for it is lost. The host remembers it for a year. */
  async endItem(itemId: RunItemId, options: { signal?: AbortSignal } = {}): Promise<void> {
    const path = `/v1/ended-items/${itemId}`;
    await this.#send({ operation: 'end-item', method: 'PUT', path, timeoutMs: slowMs, ...only(options) });
  }

  /** Its `endedAt` is null when the host knows of no end. A service of the release before knows of none: NOT_FOUND. */
  async endedItem(itemId: RunItemId, options: { signal?: AbortSignal } = {}): Promise<EndedItem> {
    return await this.#json(endedItemSchema, {
      operation: 'ended-item',
      method: 'GET',
      path: `/v1/ended-items/${itemId}`,
      timeoutMs: quickMs,
      ...only(options),
    });
  }

  async #json<T extends z.ZodType>(schema: T, call: Call): Promise<z.infer<T>> {
    const reply = await this.#send(call);
    const parsed = schema.safeParse(parseJson(reply.text));
    if (parsed.success) return parsed.data;
    throw this.#unreachable(`answered ${call.method} ${call.path} with what is no reply of a disk service`);
  }

  #send(call: Call): Promise<Reply> {
    const attributes = {
      'http.request.method': call.method,
      'server.address': this.#url.hostname,
      'server.port': portOf(this.#url),
    };
    return tracer().startActiveSpan(
      `disk-service ${call.operation}`,
      { kind: SpanKind.CLIENT, attributes },
      async (span) => {
        try {
          return await this.#ask(call, span);
        } catch (error) {
          const { code, message } = Fault.from(error);
          span.setAttribute('casvault.fault', code);
          span.setStatus({ code: SpanStatusCode.ERROR, message });
          throw error;
        } finally {
          span.end();
        }
      },
    );
  }

  async #ask(call: Call, span: Span): Promise<Reply> {
    const reply = await this.#exchange(call);
    span.setAttribute('http.response.status_code', reply.status);
    if (reply.status < 400) return reply;
    if (reply.status === 401) {
      throw new Fault(
        'DISK_SERVICE_UNAUTHORISED',
        `the disk service ${this.#url.host} does not take our token`,
        {
          details: { host: this.#url.host },
        },
      );
    }
    const problem = problemSchema.safeParse(parseJson(reply.text));
    if (!problem.success) {
      throw this.#unreachable(`answered ${call.method} ${call.path} with status ${String(reply.status)}`);
    }
    const { code, detail, details } = problem.data;
    throw new Fault(code, detail, { details });
  }

  async #exchange(call: Call): Promise<Reply> {
    const timeout = AbortSignal.timeout(call.timeoutMs);
    const signal = call.signal ? AbortSignal.any([call.signal, timeout]) : timeout;
    try {
      return await this.#overHttp(call, signal);
    } catch (error) {
      if (Fault.is(error)) throw error;
      if (call.signal?.aborted === true) {
        throw new Fault('STOPPED', `${call.method} ${call.path} at the disk service was stopped`, {
          cause: error,
        });
      }
      const why = timeout.aborted
        ? `did not answer within ${String(call.timeoutMs / 1_000)} s`
        : `can't be reached: ${wordsOf(error)}`;
      throw this.#unreachable(why, error);
    }
  }

  async #overHttp(call: Call, signal: AbortSignal): Promise<Reply> {
    const { url, options, body } = this.#prepare(call, signal);
    const incoming = await new Promise<IncomingMessage>((resolve, reject) => {
      const outgoing = url.protocol === 'https:' ? httpsRequest(url, options) : httpRequest(url, options);
      outgoing.once('response', resolve);
      outgoing.once('error', reject);
      outgoing.end(body);
    });
    return { status: incoming.statusCode ?? 0, text: await this.#collect(incoming) };
  }

  #prepare(call: Call, signal: AbortSignal) {
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    const headers: Record<string, string> = {
      accept: 'application/json',
      authorization: `Bearer ${this.#access.token}`,
      ...(body === undefined
        ? {}
        : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) }),
    };
    propagation.inject(context.active(), headers);
    const options = { method: call.method, headers, signal, agent: false as const, ...this.#access.tls };
    return { url: new URL(call.path, this.#url), options, body };
  }

  async #collect(incoming: IncomingMessage): Promise<string> {
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of incoming as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > maxReplyBytes) {
        incoming.destroy();
        throw this.#unreachable(`sent a reply over ${String(maxReplyBytes)} bytes`);
      }
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString('utf8');
  }

  #unreachable(why: string, cause?: unknown): Fault {
    return new Fault('DISK_SERVICE_UNREACHABLE', `the disk service ${this.#url.host} ${why}`, {
      details: {
        host: this.#url.hostname,
        port: portOf(this.#url),
      },
      ...(cause === undefined ? {} : { cause }),
    });
  }
}

const tracer = () => trace.getTracer('casvault.block-source');

const portOf = (url: URL): number => Number(url.port) || (url.protocol === 'https:' ? 443 : 80);

const only = (options: { signal?: AbortSignal }): { signal: AbortSignal | undefined } => ({
  signal: options.signal,
});

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The system's name of what failed; a connection tried on several addresses carries one error for each. */
function wordsOf(error: unknown): string {
  if (typeof error !== 'object' || error === null) return String(error);
  if ('errors' in error && Array.isArray(error.errors)) {
    return [...new Set((error.errors as unknown[]).map(wordsOf))].join(', ');
  }
  if ('code' in error && typeof error.code === 'string') return error.code;
  return 'message' in error ? String(error.message) : 'no reason was given';
}
