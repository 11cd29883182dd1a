import { context, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { TracerProvider, type ReadableSpan } from '@opentelemetry/sdk-trace';

export interface SpanRecorder {
  /** Spans that have ended, in the order of their ends. */
  readonly ended: readonly ReadableSpan[];
  /** The first of that name; throws when none has ended. */
  span(name: string): ReadableSpan;
  /** Forgets those that have ended. */
  clear(): void;
  /** Runs `work` in a span; the id of its trace and what `work` returned. */
  inTrace<T>(work: () => Promise<T>): Promise<{ traceId: string; result: T }>;
}

/** Installs tracing with W3C propagation into this process, for one test file, and keeps the spans instead of exporting them. */
export const recordSpans = (): SpanRecorder => {
  const ended: ReadableSpan[] = [];
  const processor = {
    onStart: () => undefined,
    onEnd: (span: ReadableSpan) => void ended.push(span),
    forceFlush: () => Promise.resolve(),
    shutdown: () => Promise.resolve(),
  };
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors: [processor] }));
  return {
    ended,
    span: (name) => {
      const found = ended.find((span) => span.name === name);
      if (!found) throw new Error(`no span ${name} among: ${ended.map((span) => span.name).join(', ')}`);
      return found;
    },
    clear: () => void ended.splice(0),
    inTrace: (work) =>
      trace.getTracer('test').startActiveSpan('test', async (span) => {
        try {
          return { traceId: span.spanContext().traceId, result: await work() };
        } finally {
          span.end();
        }
      }),
  };
};
