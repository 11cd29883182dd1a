import { type LoggerService } from '@nestjs/common';
import { type Logger } from '@casvault/contracts';

/** Nest's own messages in the service's log: its chatter about modules and routes as debug. */
export const nestLogger = (logger: Logger): LoggerService => {
  const text = (message: unknown) => (message instanceof Error ? message.message : String(message));
  const fields = (message: unknown, rest: unknown[]) => ({
    nest: rest.at(-1),
    ...(message instanceof Error ? { err: message } : {}),
  });
  return {
    log: (message: unknown, ...rest: unknown[]) => logger.debug(fields(message, rest), text(message)),
    debug: (message: unknown, ...rest: unknown[]) => logger.debug(fields(message, rest), text(message)),
    warn: (message: unknown, ...rest: unknown[]) => logger.warn(fields(message, rest), text(message)),
    error: (message: unknown, ...rest: unknown[]) => logger.error(fields(message, rest), text(message)),
  };
};
