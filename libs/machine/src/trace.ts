import { context, metrics, propagation, SpanStatusCode, trace, type Histogram } from '@opentelemetry/api';

/** The W3C traceparent of the active span, or null. */
export const currentTraceparent = (): string | null => {
  const carrier: Record<string, string> = {};
  propagation.inject(context.active(), carrier);
  return carrier['traceparent'] ?? null;
};

/** Runs `work` in a span of its own below the active one. */
export const inSpan = <T>(name: string, work: () => Promise<T>): Promise<T> =>
  trace.getTracer('casvault.machine').startActiveSpan(name, async (span) => {
    try {
      return await work();
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.message : '' });
      throw error;
    } finally {
      span.end();
    }
  });

/** Runs `work` under the given parent; with a name, in a span of its own. */
export const underTrace = async <T>(
  traceparent: string | null,
  name: string | null,
  work: () => Promise<T>,
): Promise<T> => {
  const parent =
    traceparent === null ? context.active() : propagation.extract(context.active(), { traceparent });
  return context.with(parent, () => (name === null ? work() : inSpan(name, work)));
};

/** Rate, errors and duration of effects. Made after the metrics provider: it has no late binding. */
export const effectDurations = (): Histogram =>
  metrics.getMeter('casvault.machine').createHistogram('casvault_effect_duration_seconds', {
    description: 'Time of one attempt at an effect, by machine, effect and outcome (ok or fault code)',
    advice: { explicitBucketBoundaries: [0.005, 0.02, 0.1, 0.5, 2, 10, 60, 600] },
  });
