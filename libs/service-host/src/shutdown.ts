import { type Logger } from '@casvault/contracts';

/**
 * The end of a process: on SIGTERM, SIGINT or `begin` the parts are closed in the reverse order of their start, all within
 * one bound. Errors that nobody caught end it too, as failures: a process in an unknown state must not go on.
 */
export class Shutdown {
  readonly #parts: { name: string; close: () => Promise<void> }[] = [];
  readonly #controller = new AbortController();
  readonly #logger: Logger;
  #begun = false;

  constructor(
    logger: Logger,
    readonly boundMs: number,
  ) {
    this.#logger = logger;
    process.once('SIGTERM', () => this.begin(0));
    process.once('SIGINT', () => this.begin(0));
    for (const event of ['uncaughtException', 'unhandledRejection'] as const)
      process.on(event, (error: unknown) => {
        logger.error({ err: error, event }, 'unexpected error, the process ends');
        this.begin(1);
      });
  }

  /** Aborts when the end begins. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  add(name: string, close: () => Promise<void>): void {
    this.#parts.push({ name, close });
  }

  begin(exitCode: number): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#logger.info({ exitCode }, 'service ends');
    setTimeout(() => {
      this.#logger.error({ boundMs: this.boundMs }, 'drain took too long');
      process.exit(1);
    }, this.boundMs).unref();
    this.#controller.abort();
    void this.#close(exitCode);
  }

  async #close(exitCode: number): Promise<void> {
    let code = exitCode;
    for (const { name, close } of this.#parts.reverse())
      try {
        await close();
      } catch (error) {
        this.#logger.warn({ err: error, part: name }, 'part not closed');
        code ||= 1;
      }
    this.#logger.info({ exitCode: code }, 'service ended');
    process.exit(code);
  }
}
