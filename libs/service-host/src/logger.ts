import { context, trace } from '@opentelemetry/api';
import { type Logger } from '@casvault/contracts';
import { pino, type DestinationStream } from 'pino';

/** Fields that never reach a log, wherever they stand (two levels deep); names in messages are the caller's care. */
const secretNames = [
  'password',
  'token',
  'secret',
  'credentials',
  'secretKey',
  'accessKey',
  'authorization',
  'cookie',
];

/** JSON lines on standard output with time, level, service, msg and, inside one, trace and span. Errors go under `err`. */
export const createLogger = (
  options: { name: string; level: string },
  destination?: DestinationStream,
): Logger => {
  const settings = {
    level: options.level,
    base: { service: options.name },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: {
      paths: secretNames.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
      censor: '[secret]',
    },
    mixin: () => {
      const span = trace.getSpanContext(context.active());
      return span ? { traceId: span.traceId, spanId: span.spanId } : {};
    },
  };
  return destination ? pino(settings, destination) : pino(settings);
};
