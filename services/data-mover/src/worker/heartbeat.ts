import { reportBackupHost, type Clock, type Logger } from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { type z } from 'zod';

const everyMs = 10_000;
const deadlineMs = 5_000;

export type BackupHostReport = z.input<typeof reportBackupHost.request>;

/** Tells inventory every 10 s that this backup host is there; the first time registers it. What fails is tried again. */
export class Heartbeat {
  readonly #report: BackupHostReport;
  readonly #client: MessagingClient;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #heard: boolean | null = null;

  constructor(
    report: BackupHostReport,
    parts: { readonly client: MessagingClient; readonly clock: Clock; readonly logger: Logger },
  ) {
    this.#report = report;
    this.#client = parts.client;
    this.#clock = parts.clock;
    this.#logger = parts.logger;
  }

  /** Until the signal aborts. Never rejects. */
  async beat(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#once(signal);
      await this.#clock.sleep(everyMs, signal);
    }
  }

  /** Logs when it changes whether it is heard, not every time. */
  async #once(signal: AbortSignal): Promise<void> {
    const { id, name, group } = this.#report;
    try {
      await this.#client.request(reportBackupHost, this.#report, { deadlineMs, signal });
      if (this.#heard !== true)
        this.#logger.info({ backupHostId: id, name, group }, 'backup host registered');
      this.#heard = true;
    } catch (error) {
      if (signal.aborted) return;
      if (this.#heard !== false) this.#logger.warn({ err: error, backupHostId: id }, 'heartbeat not heard');
      this.#heard = false;
    }
  }
}
