import {
  Fault,
  type AlertChannel,
  type AlertChannelId,
  type Clock,
  type createAlertChannel,
  type updateAlertChannel,
} from '@casvault/contracts';
import { isDeepStrictEqual } from 'node:util';
import { inTransaction, isUniqueViolation } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { type z } from 'zod';
import { type AlertChannelStore } from './alert-channel-store.js';
import { changedSettings, maxChannels, viewOf, type StoredChannel } from './alert-channel.rules.js';

type NewChannel = z.output<typeof createAlertChannel.request>;
type ChannelChange = z.output<typeof updateAlertChannel.request>;

export interface AlertChannelsOptions {
  readonly database: DataSource;
  readonly channels: AlertChannelStore;
  readonly clock: Clock;
}

/** H3: alert channels as people make and change them. */
export class AlertChannels {
  readonly #o: AlertChannelsOptions;

  constructor(options: AlertChannelsOptions) {
    this.#o = options;
  }

  /** Idempotent by `id`; the same id with other content, or a name that is taken, is ALREADY_EXISTS. */
  async create(request: NewChannel): Promise<AlertChannel> {
    const { database, channels, clock } = this.#o;
    const channel: StoredChannel = { ...request, createdAt: clock.now().toISOString() };
    await this.#named(channel.name, () =>
      inTransaction(database, async (tx) => {
        const ids = await channels.holdAll(tx);
        if (ids.includes(channel.id)) return;
        if (ids.length >= maxChannels)
          throw new Fault(
            'CONFLICT',
            `there are ${ids.length} alert channels: no more than ${maxChannels} may be`,
          );
        await channels.insert(tx, channel);
      }),
    );
    const shown = await this.get(channel.id);
    // Secrets are sealed anew by each request: they are not compared.
    if (!isDeepStrictEqual({ ...viewOf(channel), createdAt: '' }, { ...shown, createdAt: '' }))
      throw new Fault('ALREADY_EXISTS', `alert channel ${channel.id} exists with other content`);
    return shown;
  }

  async update({ channelId, settings, ...change }: ChannelChange): Promise<AlertChannel> {
    const { database, channels } = this.#o;
    await this.#named(change.name, () =>
      inTransaction(database, async (tx) => {
        const channel = await channels.hold(tx, channelId);
        await channels.update(tx, {
          ...channel,
          ...change,
          settings: changedSettings(channel.settings, settings),
        });
      }),
    );
    return this.get(channelId);
  }

  async get(id: AlertChannelId): Promise<AlertChannel> {
    return viewOf(await this.#o.channels.get(id));
  }

  async #named(name: string, write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      throw new Fault('ALREADY_EXISTS', `an alert channel is named '${name}' already`);
    }
  }
}
