import { Fault } from '@casvault/contracts';
import { SpanKind, SpanStatusCode, trace, type Span } from '@opentelemetry/api';
import { XMLBuilder } from 'fast-xml-parser';
import { type CasRequest, type HttpTransport } from './http-transport.js';
import { bodyFault, statusFault } from './reply-fault.js';
import { decodeBody, type Wire } from './wire.js';

export type Query = Readonly<Record<string, string | number>>;

/** A body; `root` names its element where the CVM wants XML. */
export interface CallBody {
  readonly root: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface Call {
  readonly method: CasRequest['method'];
  readonly path: string;
  /** Completes "the CVM refuses to ...", for messages. */
  readonly what: string;
  readonly query?: Query;
  readonly body?: CallBody;
  readonly signal?: AbortSignal;
}

/** Ids in a path make no names of their own. */
const spanName = ({ method, path }: Call): string => `cvm ${method} ${path.replace(/[^/]*\d[^/]*/g, '{}')}`;

/** A client span of the active trace; the CVM itself knows nothing of traces. */
const inSpan = <T>(call: Call, work: (span: Span) => Promise<T>): Promise<T> =>
  trace
    .getTracer('casvault.cas-client')
    .startActiveSpan(spanName(call), { kind: SpanKind.CLIENT }, async (span) => {
      try {
        return await work(span);
      } catch (error) {
        const { code, message } = Fault.from(error);
        span.setAttribute('casvault.fault', code);
        span.setStatus({ code: SpanStatusCode.ERROR, message });
        throw error;
      } finally {
        span.end();
      }
    });

const builder = new XMLBuilder({ ignoreAttributes: false, attributeNamePrefix: '@' });

/**
 * One call and its reply as a value, or as the Fault it stands for. JSON is spoken first; a CVM that does not take it
 * (406, 415: nothing was carried out) is spoken to in XML from then on.
 */
export class CasCaller {
  private format: 'json' | 'xml';

  constructor(
    private readonly transport: HttpTransport,
    format: 'json' | 'xml' = 'json',
  ) {
    this.format = format;
  }

  call(call: Call): Promise<Wire> {
    return inSpan(call, (span) => this.ask(call, span));
  }

  private async ask(call: Call, span: Span): Promise<Wire> {
    let reply = await this.transport.send(this.request(call));
    if ((reply.status === 406 || reply.status === 415) && this.format === 'json') {
      this.format = 'xml';
      reply = await this.transport.send(this.request(call));
    }
    span.setAttribute('http.response.status_code', reply.status);
    if (reply.status < 200 || reply.status > 299) throw statusFault(reply, call.what);
    const body = decodeBody(reply.headers['content-type'] ?? '', reply.body);
    const fault = bodyFault(body, call.what);
    if (fault !== null) throw fault;
    return body;
  }

  private request(call: Call): CasRequest {
    const { method, path, query, body, signal } = call;
    const type = `application/${this.format}`;
    const content = body === undefined ? {} : { body: { type, text: this.encode(body) } };
    return {
      method,
      path,
      accept: type,
      ...content,
      ...(query === undefined ? {} : { query }),
      ...(signal === undefined ? {} : { signal }),
    };
  }

  private encode(body: CallBody): string {
    if (this.format === 'json') return JSON.stringify(body.fields);
    return builder.build({ [body.root]: body.fields });
  }
}
