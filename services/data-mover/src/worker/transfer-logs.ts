import { createWriteStream, type WriteStream } from 'node:fs';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { Fault, type Clock, type Logger, type TransferId, type TransferOptions } from '@casvault/contracts';
import { createLogger } from '@casvault/service-host';

export interface TransferLogOptions {
  readonly dir: string;
  /** Newest logs that stay. */
  readonly keep: number;
  /** Older ones go. */
  readonly keepDays: number;
}

/** What one log takes at the most; nothing is written after it. */
const mostBytes = 4 * 1_048_576;
const dayMs = 86_400_000;
const nameOf = (at: Date, transferId: TransferId): string =>
  `${at.toISOString().slice(0, 19).replaceAll(':', '')}Z-${transferId}.log`;
const isLogName = (name: string): boolean => /^\d{4}-\d\d-\d\dT\d{6}Z-[0-9a-f-]{36}\.log$/.test(name);
const longAgo = new Date(0);

/** A transfer's own log. */
export interface TransferLog {
  readonly logger: Logger;
  readonly close: () => Promise<void>;
}

/**
 * A log file for each claim of a transfer, JSON lines as those of the service and with the same secrets left out. On disk: `keep` x 4 MiB at the
 * most. A log that can't be written stops no transfer.
 */
export class TransferLogs {
  readonly #options: TransferLogOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;

  constructor(options: TransferLogOptions, parts: { readonly clock: Clock; readonly logger: Logger }) {
    this.#options = options;
    this.#clock = parts.clock;
    this.#logger = parts.logger;
  }

  /** Null when the folder can't be written. */
  async open(
    transferId: TransferId,
    level: TransferOptions['transport']['logLevel'],
  ): Promise<TransferLog | null> {
    const { dir } = this.#options;
    try {
      await mkdir(dir, { recursive: true });
      await this.#tidy();
      const file = createWriteStream(join(dir, nameOf(this.#clock.now(), transferId)), {
        flags: 'a',
        mode: 0o640,
      });
      file.on('error', (error) => {
        this.#logger.warn({ err: Fault.from(error), transferId }, 'transfer log not written');
      });
      const logger = createLogger({ name: 'data-mover', level }, new Bounded(file));
      return { logger, close: () => closed(file) };
    } catch (error) {
      this.#logger.warn({ err: Fault.from(error), transferId, dir }, 'transfer log not opened');
      return null;
    }
  }

  /** Leaves room for one more. Only what is named as these logs are is touched. */
  async #tidy(): Promise<void> {
    const { dir, keep, keepDays } = this.#options;
    const oldest = this.#clock.now().getTime() - keepDays * dayMs;
    const names = (await readdir(dir)).filter(isLogName).sort();
    const tooMany = names.length - (keep - 1);
    for (const [i, name] of names.entries()) {
      const path = join(dir, name);
      const { mtime } = i < tooMany ? { mtime: longAgo } : await stat(path).catch(() => ({ mtime: longAgo }));
      if (mtime.getTime() < oldest) await rm(path, { force: true });
    }
  }
}

class Bounded {
  readonly #file: WriteStream;
  #left = mostBytes;

  constructor(file: WriteStream) {
    this.#file = file;
  }

  write(line: string): void {
    this.#left -= Buffer.byteLength(line);
    if (this.#left >= 0 && this.#file.writable) this.#file.write(line);
  }
}

const closed = async (file: WriteStream): Promise<void> => {
  file.end();
  await finished(file).catch(() => undefined);
};

/** Tells both. */
export const both = (one: Logger, other: Logger): Logger => ({
  debug: (fields, message) => {
    one.debug(fields, message);
    other.debug(fields, message);
  },
  info: (fields, message) => {
    one.info(fields, message);
    other.info(fields, message);
  },
  warn: (fields, message) => {
    one.warn(fields, message);
    other.warn(fields, message);
  },
  error: (fields, message) => {
    one.error(fields, message);
    other.error(fields, message);
  },
});
