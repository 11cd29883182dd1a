import { monitorEventLoopDelay } from 'node:perf_hooks';
import { context, metrics, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { resourceFromAttributes, type Resource } from '@opentelemetry/resources';
import { AggregationTemporality, InstrumentType, MeterProvider } from '@opentelemetry/sdk-metrics';
import {
  AlwaysOffSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { systemClock } from './clock.js';
import { Exemplars } from './exemplars.js';

export interface Telemetry {
  /** What a scrape shows: in OpenMetrics with exemplars to who accepts it, else in Prometheus' text format. */
  scrape(accept?: string): Promise<{ readonly contentType: string; readonly text: string }>;
  /** Sends out what is left. */
  shutdown(): Promise<void>;
}

/** Spans are recorded only where somebody collects them; ids are made and passed on in any case. */
const tracing = async (resource: Resource, endpoint: string | undefined): Promise<TracerProvider> => {
  if (endpoint === undefined)
    return new TracerProvider({
      resource,
      sampler: new ParentBasedSampler({ root: new AlwaysOffSampler() }),
    });
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-http');
  const exporter = new OTLPTraceExporter({ url: `${endpoint.replace(/\/+$/, '')}/v1/traces` });
  return new TracerProvider({ resource, spanProcessors: [new BatchSpanProcessor({ exporter })] });
};

/**
 * Of an observable gauge a scrape shows what was observed for it and nothing of before: what is not there any more (a queue that
 * is empty, a pool that is away) has no series. OpenTelemetry's own exporter repeats its last value for ever.
 */
class PresentExporter extends PrometheusExporter {
  override selectAggregationTemporality(type: InstrumentType): AggregationTemporality {
    return type === InstrumentType.OBSERVABLE_GAUGE
      ? AggregationTemporality.DELTA
      : AggregationTemporality.CUMULATIVE;
  }
}

const openMetrics = 'application/openmetrics-text';

const observeProcess = (): void => {
  const meter = metrics.getMeter('casvault.process');
  // Coarse: every sample wakes a process that may have nothing to do.
  const delay = monitorEventLoopDelay({ resolution: 100 });
  delay.enable();
  meter
    .createObservableGauge('process_resident_memory_bytes', { description: 'Resident memory' })
    .addCallback((result) => result.observe(process.memoryUsage.rss()));
  meter
    .createObservableGauge('nodejs_eventloop_delay_p99_seconds', {
      description: 'Delay of the event loop since the last scrape, 99th percentile',
    })
    .addCallback((result) => {
      result.observe(delay.percentile(99) / 1e9);
      delay.reset();
    });
};

/**
 * Installs the process-wide tracer, meter, context and W3C propagation. Call it once and first: instruments made before
 * measure nothing.
 */
export const startTelemetry = async (options: {
  name: string;
  version: string;
  endpoint?: string | undefined;
}): Promise<Telemetry> => {
  const resource = resourceFromAttributes({
    'service.name': `casvault-${options.name}`,
    'service.version': options.version,
  });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const tracer = await tracing(resource, options.endpoint);
  trace.setGlobalTracerProvider(tracer);
  const exporter = new PresentExporter({ preventServerStart: true });
  const serializer = new PrometheusSerializer();
  const exemplars = new Exemplars(() => systemClock.now());
  const meter = exemplars.watching(new MeterProvider({ resource, readers: [exporter] }));
  metrics.setGlobalMeterProvider(meter);
  observeProcess();
  return {
    scrape: async (accept = '') => {
      const { resourceMetrics } = await exporter.collect();
      const text = serializer.serialize(resourceMetrics);
      return accept.includes(openMetrics)
        ? { contentType: `${openMetrics}; version=1.0.0; charset=utf-8`, text: exemplars.openMetrics(text) }
        : { contentType: 'text/plain; version=0.0.4; charset=utf-8', text };
    },
    shutdown: async () => {
      await tracer.shutdown();
      await meter.shutdown();
    },
  };
};
