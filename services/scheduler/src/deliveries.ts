import {
  Fault,
  type AlertChannelId,
  type AlertId,
  type AlertTest,
  type ChannelSettings,
  type Clock,
  type Logger,
  type Sealed,
} from '@casvault/contracts';
import { type DeliveryStore } from './delivery-store.js';
import { deliveryLimits, noticeOf, retryDelayMs, testNotice, type Notice } from './delivery.rules.js';
import { sendMail } from './mail.js';
import { postWebhook } from './webhook.js';

export interface DeliveriesOptions {
  readonly deliveries: Pick<DeliveryStore, 'claim' | 'settle'>;
  /** Opens a secret for the call that needs it. */
  readonly open: (sealed: Sealed) => string;
  readonly clock: Clock;
  /** 0..1 */
  readonly chance: () => number;
  readonly logger: Logger;
}

/** H3: sends alerts, at least once each; `deliveryLimits` has all times and bounds. Memory: `atOnce` alerts. */
export class Deliveries {
  readonly #o: DeliveriesOptions;
  readonly #stopping = new AbortController();
  #sending: Promise<unknown> = Promise.resolve();

  constructor(options: DeliveriesOptions) {
    this.#o = options;
  }

  start(): void {
    this.#sending = Promise.all(
      Array.from({ length: deliveryLimits.atOnce }, () => this.#work(this.#stopping.signal)),
    );
  }

  /** What is being sent is given up, and tried by another replica when its lease ends. */
  async drain(): Promise<void> {
    this.#stopping.abort();
    await this.#sending;
  }

  /** Sends a test, once. */
  async test(
    id: AlertChannelId,
    settings: ChannelSettings,
    testId: AlertId,
    signal: AbortSignal,
  ): Promise<AlertTest> {
    return this.#attempt(settings, testNotice(testId, id, this.#o.clock.now()), signal);
  }

  /** Sends one that is due; false when there is none. */
  async sendNext(stopping: AbortSignal): Promise<boolean> {
    const { deliveries, chance, logger } = this.#o;
    const claimed = await deliveries.claim(deliveryLimits.leaseMs);
    if (!claimed) return false;
    const { alert, channelId, settings, attempts } = claimed;
    const result = await this.#attempt(settings, noticeOf(alert, channelId), stopping);
    if (!result.delivered && stopping.aborted) return true;
    await deliveries.settle(claimed, result, retryDelayMs(attempts, chance()));
    if (result.error !== null)
      logger.warn({ alertId: alert.id, channelId, attempts, ...result }, 'alert not delivered to all');
    return true;
  }

  async #attempt(settings: ChannelSettings, notice: Notice, stopping: AbortSignal): Promise<AlertTest> {
    const timeout = AbortSignal.timeout(deliveryLimits.attemptMs);
    try {
      const error = await this.#send(settings, notice, AbortSignal.any([timeout, stopping]));
      return { delivered: true, error };
    } catch (error) {
      const seconds = deliveryLimits.attemptMs / 1_000;
      return {
        delivered: false,
        error: timeout.aborted ? `no answer within ${seconds} s` : Fault.from(error).message,
      };
    }
  }

  /** Who was not reached though others were, or null. */
  async #send(settings: ChannelSettings, notice: Notice, signal: AbortSignal): Promise<string | null> {
    const { clock } = this.#o;
    const opened = (sealed: Sealed | null) => (sealed === null ? null : this.#o.open(sealed));
    if (settings.type === 'smtp')
      return sendMail({ ...settings, password: opened(settings.password) }, notice, clock.now(), signal);
    const { url, hmacSecret, bearerToken, caCertificate } = settings;
    const secrets = {
      url: this.#o.open(url),
      hmacSecret: opened(hmacSecret),
      bearerToken: opened(bearerToken),
    };
    await postWebhook({ ...secrets, caCertificate }, notice, clock.now(), signal);
    return null;
  }

  async #work(stopping: AbortSignal): Promise<void> {
    const { clock, logger } = this.#o;
    while (!stopping.aborted) {
      let sent = false;
      try {
        sent = await this.sendNext(stopping);
      } catch (error) {
        logger.warn({ err: error }, 'alerts not sent, trying again');
      }
      if (!sent) await clock.sleep(deliveryLimits.lookEveryMs, stopping);
    }
  }
}
