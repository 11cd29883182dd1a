import { attachRestoreVolume, createRestoreVolume, removeRestoreVolume } from '@casvault/contracts';
import { type MessageContext, OnQuery } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { RestoreVolumes } from './restore-volumes.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

@Controller()
export class RestoreVolumeHandlers {
  constructor(@Inject(RestoreVolumes) private readonly volumes: RestoreVolumes) {}

  @OnQuery(createRestoreVolume)
  async create(request: Request<typeof createRestoreVolume>, context: MessageContext) {
    return this.volumes.create(request, context.signal);
  }

  @OnQuery(attachRestoreVolume)
  async attach({ restoreId, platformId }: Request<typeof attachRestoreVolume>, context: MessageContext) {
    return { vmId: await this.volumes.attach(restoreId, platformId, context.signal) };
  }

  @OnQuery(removeRestoreVolume)
  async remove({ restoreId, platformId }: Request<typeof removeRestoreVolume>, context: MessageContext) {
    await this.volumes.remove(restoreId, platformId, context.signal);
    return {};
  }
}
