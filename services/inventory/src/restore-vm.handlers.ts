import {
  createRestoreVm,
  finishRestoreImage,
  finishRestoreVm,
  getOriginalPlace,
  judgeRestoreVms,
  removeRestoreVm,
} from '@casvault/contracts';
import { type MessageContext, OnQuery } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { OriginalPlaces } from './original-path.js';
import { RestoreVmJudge } from './restore-vm-judge.js';
import { RestoreVms } from './restore-vms.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

@Controller()
export class RestoreVmHandlers {
  constructor(
    @Inject(RestoreVms) private readonly restores: RestoreVms,
    @Inject(RestoreVmJudge) private readonly judge: RestoreVmJudge,
    @Inject(OriginalPlaces) private readonly originals: OriginalPlaces,
  ) {}

  @OnQuery(getOriginalPlace)
  async originalPlace({ vmId }: Request<typeof getOriginalPlace>) {
    return this.originals.of(vmId);
  }

  @OnQuery(judgeRestoreVms)
  async judgeAll({ requests }: Request<typeof judgeRestoreVms>, { signal }: MessageContext) {
    return { verdicts: await this.judge.judge(requests, signal) };
  }

  @OnQuery(createRestoreVm)
  async create(request: Request<typeof createRestoreVm>, context: MessageContext) {
    return this.restores.create(request, context.signal);
  }

  @OnQuery(finishRestoreVm)
  async finish(request: Request<typeof finishRestoreVm>, context: MessageContext) {
    const { restoreId, platformId, powerOn } = request;
    return { vmId: await this.restores.finish(restoreId, platformId, powerOn, context.signal) };
  }

  @OnQuery(finishRestoreImage)
  async finishImage(request: Request<typeof finishRestoreImage>, context: MessageContext) {
    const { restoreId, platformId, description } = request;
    return { imageId: await this.restores.finishImage(restoreId, platformId, description, context.signal) };
  }

  @OnQuery(removeRestoreVm)
  async remove(request: Request<typeof removeRestoreVm>, context: MessageContext) {
    await this.restores.remove(request.restoreId, request.platformId, context.signal);
    return {};
  }
}
