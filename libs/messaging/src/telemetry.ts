import {
  context,
  metrics,
  type SpanKind,
  SpanStatusCode,
  trace,
  type Context,
  type Histogram,
} from '@opentelemetry/api';
import { Fault } from '@casvault/contracts';

/** Rate, errors and duration of handled messages. Made after the metrics provider: it has no late binding. */
export class HandlerTelemetry {
  readonly #duration: Histogram;

  constructor() {
    this.#duration = metrics
      .getMeter('casvault.messaging')
      .createHistogram('casvault_message_duration_seconds', {
        description:
          'Time in handlers of queries, commands and events, by subject and outcome (ok or fault code)',
        advice: { explicitBucketBoundaries: [0.005, 0.02, 0.1, 0.5, 2, 10, 60, 600] },
      });
  }

  /** Runs a handler in a span below the sender's; what it throws comes out as a Fault. */
  async handle<T>(subject: string, parent: Context, kind: SpanKind, work: () => Promise<T>): Promise<T> {
    const began = performance.now();
    const record = (outcome: string) =>
      this.#duration.record((performance.now() - began) / 1000, { subject, outcome });
    return context.with(parent, () =>
      trace.getTracer('casvault.messaging').startActiveSpan(subject, { kind }, async (span) => {
        try {
          const result = await work();
          record('ok');
          return result;
        } catch (error) {
          const fault = Fault.from(error);
          record(fault.code);
          span.setAttribute('casvault.fault', fault.code);
          if (fault.kind !== 'user') span.setStatus({ code: SpanStatusCode.ERROR, message: fault.message });
          throw fault;
        } finally {
          span.end();
        }
      }),
    );
  }
}

/** A span around what is sent. */
export const sending = <T>(subject: string, kind: SpanKind, work: () => Promise<T>): Promise<T> =>
  trace.getTracer('casvault.messaging').startActiveSpan(`send ${subject}`, { kind }, async (span) => {
    try {
      return await work();
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.message : '' });
      throw error;
    } finally {
      span.end();
    }
  });
