import {
  acknowledgeAlert,
  createAlertChannel,
  deleteAlertChannel,
  getAlertChannel,
  listAlertChannels,
  listAlerts,
  newId,
  testAlertChannel,
  updateAlertChannel,
  type AlertId,
} from '@casvault/contracts';
import { OnQuery, type MessageContext } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { AlertChannels } from './alert-channels.js';
import { AlertChannelStore } from './alert-channel-store.js';
import { AlertStore } from './alert-store.js';
import { Deliveries } from './deliveries.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

@Controller()
export class AlertHandlers {
  constructor(
    @Inject(AlertStore) private readonly alerts: AlertStore,
    @Inject(AlertChannels) private readonly channels: AlertChannels,
    @Inject(AlertChannelStore) private readonly store: AlertChannelStore,
    @Inject(Deliveries) private readonly deliveries: Deliveries,
  ) {}

  @OnQuery(listAlerts)
  async list(request: Request<typeof listAlerts>) {
    return this.alerts.page(request);
  }

  @OnQuery(acknowledgeAlert)
  async acknowledge({ alertId }: Request<typeof acknowledgeAlert>, { actor }: MessageContext) {
    return this.alerts.acknowledge(alertId, actor ?? 'system');
  }

  @OnQuery(createAlertChannel)
  async create(request: Request<typeof createAlertChannel>) {
    return this.channels.create(request);
  }

  @OnQuery(updateAlertChannel)
  async update(request: Request<typeof updateAlertChannel>) {
    return this.channels.update(request);
  }

  @OnQuery(deleteAlertChannel)
  async remove({ channelId }: Request<typeof deleteAlertChannel>) {
    await this.store.remove(channelId);
    return {};
  }

  @OnQuery(listAlertChannels)
  async listChannels(request: Request<typeof listAlertChannels>) {
    return this.store.page(request);
  }

  @OnQuery(getAlertChannel)
  async get({ channelId }: Request<typeof getAlertChannel>) {
    return this.channels.get(channelId);
  }

  @OnQuery(testAlertChannel)
  async test({ channelId }: Request<typeof testAlertChannel>, { signal }: MessageContext) {
    const { settings } = await this.store.get(channelId);
    return this.deliveries.test(channelId, settings, newId<AlertId>(), signal);
  }
}
