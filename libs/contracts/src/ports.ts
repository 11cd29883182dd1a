/**
 * Time as a parameter: nothing below service-host reads the wall clock or starts a timer on its own, so that a test or
 * a simulator can own both. The real one is `systemClock` in service-host.
 */
export interface Clock {
  now(): Date;
  /** Resolves after `ms`, or at once when `signal` aborts. It never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** Structured logging; pino fits. Fields hold no secrets. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
