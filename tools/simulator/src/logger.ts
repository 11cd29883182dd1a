import { type Logger } from '@casvault/contracts';
import { type SimProcess } from './process.js';

const errorOf = (fields: object): string => {
  const { err, findings } = fields as { err?: unknown; findings?: unknown };
  if (findings !== undefined) return JSON.stringify(findings);
  if (err === undefined) return '';
  if (!(err instanceof Error)) return 'error';
  const { stack } = (err.cause as Error | undefined) ?? {};
  return `${err.name} ${err.message} ${stack ?? ''}`;
};

/** Errors that a service logs are bugs of ours; everything else goes to the trace. */
export const loggerOf = ({ world, name }: SimProcess): Logger => {
  const line = (fields: object, message: string) => {
    if (world.isTraced) world.trace(name, `${message} ${errorOf(fields)}`);
  };
  return {
    debug: () => undefined,
    info: () => undefined,
    warn: line,
    error: (fields, message) => {
      line(fields, message);
      world.require(false, () => `${name} logs an error: ${message} ${errorOf(fields)}`);
    },
  };
};
