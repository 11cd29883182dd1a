import {
  getChain,
  getPoint,
  listChains,
  listPoints,
  listPointsToCopy,
  listPointsToVerify,
  previewRestores,
} from '@casvault/contracts';
import { OnQuery, type MessageContext } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { CopyStore } from './copy-store.js';
import { PointStore } from './point-store.js';
import { RestorePreviews } from './restore-previews.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

@Controller()
export class PointHandlers {
  constructor(
    @Inject(PointStore) private readonly points: PointStore,
    @Inject(RestorePreviews) private readonly previews: RestorePreviews,
    @Inject(CopyStore) private readonly copies: Pick<CopyStore, 'pageToCopy'>,
  ) {}

  @OnQuery(listPoints)
  async list(request: Request<typeof listPoints>) {
    return this.points.page(request);
  }

  @OnQuery(listPointsToVerify)
  async listToVerify(request: Request<typeof listPointsToVerify>) {
    return this.points.pageToVerify(request);
  }

  @OnQuery(listPointsToCopy)
  async listToCopy(request: Request<typeof listPointsToCopy>) {
    return this.copies.pageToCopy(request);
  }

  @OnQuery(getPoint)
  async get({ pointId, poolId }: Request<typeof getPoint>) {
    return poolId === undefined ? this.points.get(pointId) : this.points.inPool(pointId, poolId);
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
