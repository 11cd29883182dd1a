import { context, trace } from '@opentelemetry/api';
import { pino, type DestinationStream, type Logger } from 'pino';

/** JSON lines on standard output, as those of every service: time, level, service, msg and, inside one, trace and span. */
export function createLogger(level: string, destination?: DestinationStream): Logger {
  const settings = {
    level,
    base: { service: 'disk-service' },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    mixin: () => {
      const span = trace.getSpanContext(context.active());
      return span ? { traceId: span.traceId, spanId: span.spanId } : {};
    },
  };
  return destination ? pino(settings, destination) : pino(settings);
}
