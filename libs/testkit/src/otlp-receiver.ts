import { createServer, type IncomingMessage } from 'node:http';
import { type AddressInfo } from 'node:net';
import { z } from 'zod';

/** A finished span, as a collector gets it. */
export interface CollectedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Null: a root. */
  readonly parentSpanId: string | null;
  /** `service.name` of the process. */
  readonly service: string;
  readonly name: string;
  readonly kind: 'internal' | 'server' | 'client' | 'producer' | 'consumer';
  /** Nanoseconds since 1970. */
  readonly startedAt: bigint;
  readonly endedAt: bigint;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  readonly failed: boolean;
}

export interface OtlpReceiver extends AsyncDisposable {
  /** For OTEL_EXPORTER_OTLP_ENDPOINT. */
  readonly endpoint: string;
  /** All spans so far, or those of one trace, in the order of their begin. */
  spans(traceId?: string): readonly CollectedSpan[];
  /** Every body as it came, for searches. */
  bytes(): Buffer;
}

const valueSchema = z.union([
  z.object({ stringValue: z.string() }).transform(({ stringValue }) => stringValue),
  z.object({ boolValue: z.boolean() }).transform(({ boolValue }) => boolValue),
  z.object({ intValue: z.coerce.number() }).transform(({ intValue }) => intValue),
  z.object({ doubleValue: z.number() }).transform(({ doubleValue }) => doubleValue),
  z.looseObject({}).transform((other) => JSON.stringify(other)),
]);
const attributesSchema = z
  .array(z.object({ key: z.string(), value: valueSchema }))
  .default([])
  .transform((list) => Object.fromEntries(list.map(({ key, value }) => [key, value])));
const kinds = ['internal', 'internal', 'server', 'client', 'producer', 'consumer'] as const;
const failedStatus = 2;

const spanSchema = z.object({
  traceId: z.string().regex(/^[0-9a-f]{32}$/),
  spanId: z.string().regex(/^[0-9a-f]{16}$/),
  parentSpanId: z.string().optional(),
  name: z.string(),
  kind: z.number().int().min(0).max(5),
  startTimeUnixNano: z.coerce.bigint(),
  endTimeUnixNano: z.coerce.bigint(),
  attributes: attributesSchema,
  status: z.object({ code: z.number().optional() }).optional(),
});
/** The JSON form of opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest, as far as it is looked at. */
const requestSchema = z.object({
  resourceSpans: z
    .array(
      z.object({
        resource: z.object({ attributes: attributesSchema }),
        scopeSpans: z.array(z.object({ spans: z.array(spanSchema) })),
      }),
    )
    .default([]),
});

const collectedFrom = (body: Buffer): CollectedSpan[] =>
  requestSchema.parse(JSON.parse(body.toString('utf8'))).resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans
      .flatMap(({ spans }) => spans)
      .map((span) => ({
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId || null,
        service: String(resource.attributes['service.name'] ?? ''),
        name: span.name,
        kind: kinds[span.kind] ?? 'internal',
        startedAt: span.startTimeUnixNano,
        endedAt: span.endTimeUnixNano,
        attributes: span.attributes,
        failed: span.status?.code === failedStatus,
      })),
  );

const collect = async (request: IncomingMessage): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
};

/**
 * A collector of traces over OTLP/HTTP with JSON bodies, on loopback. Other paths are answered and forgotten; a body that is no
 * OTLP gets a 400 and makes `spans` throw. Keeps everything: for scenarios of some thousand spans.
 */
export const startOtlpReceiver = async (): Promise<OtlpReceiver> => {
  const spans: CollectedSpan[] = [];
  const bodies: Buffer[] = [];
  const problems: unknown[] = [];
  const take = async (request: IncomingMessage): Promise<number> => {
    const body = await collect(request);
    if (request.url !== '/v1/traces') return 200;
    bodies.push(body);
    try {
      spans.push(...collectedFrom(body));
      return 200;
    } catch (error) {
      problems.push(error);
      return 400;
    }
  };
  const server = createServer((request, response) => {
    void take(request).then(
      (status) => response.writeHead(status, { 'content-type': 'application/json' }).end('{}'),
      () => response.destroy(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve);
  });
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans: (traceId) => {
      if (problems.length > 0) throw new Error('a body was no OTLP', { cause: problems[0] });
      return spans
        .filter((span) => traceId === undefined || span.traceId === traceId)
        .sort((a, b) => Number(a.startedAt - b.startedAt));
    },
    bytes: () => Buffer.concat(bodies),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
};
