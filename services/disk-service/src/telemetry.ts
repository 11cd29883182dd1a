import { context, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  TracerProvider,
  type TracerProviderOptions,
} from '@opentelemetry/sdk-trace';

/** Where to, is read by the exporter from OpenTelemetry's own variables. */
const exported = async (): Promise<TracerProviderOptions> => {
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-http');
  return { spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter() })] };
};

/**
 * Takes up callers' traces, always: their ids are in the log. Spans are recorded only when they are `sent`. Call it once and
 * first; returns how to send the last ones and end it.
 */
export async function startTraces(sent: boolean, version: string): Promise<() => Promise<void>> {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      'service.name': 'casvault-disk-service',
      'service.version': version,
    }),
    ...(sent ? await exported() : { sampler: new ParentBasedSampler({ root: new AlwaysOffSampler() }) }),
  });
  trace.setGlobalTracerProvider(provider);
  return () => provider.shutdown();
}
