import {
  getChain,
  getPoint,
  listChains,
  listPoints,
  listPointsToVerify,
  previewRestores,
} from '@casvault/contracts';
import { OnQuery, type MessageContext } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { PointStore } from './point-store.js';
import { RestorePreviews } from './restore-previews.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

@Controller()
export class PointHandlers {
  constructor(
    @Inject(PointStore) private readonly points: PointStore,
    @Inject(RestorePreviews) private readonly previews: RestorePreviews,
  ) {}

  @OnQuery(listPoints)
  async list(request: Request<typeof listPoints>) {
    return this.points.page(request);
  }

  @OnQuery(listPointsToVerify)
  async listToVerify(request: Request<typeof listPointsToVerify>) {
    return this.points.pageToVerify(request);
  }

  @OnQuery(getPoint)
  async get({ pointId }: Request<typeof getPoint>) {
    return this.points.get(pointId);
  }

  @OnQuery(getChain)
  async chain({ chainId }: Request<typeof getChain>) {
    return this.points.chain(chainId);
  }

  @OnQuery(listChains)
  async chains(request: Request<typeof listChains>) {
    return this.points.chains(request);
  }

  @OnQuery(previewRestores)
  async previewRestores({ items }: Request<typeof previewRestores>, { signal }: MessageContext) {
    return { items: await this.previews.preview(items, signal) };
  }
}
