import { getChain, getPoint, listChains, listPoints } from '@casvault/contracts';
import { OnQuery } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { PointStore } from './point-store.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

@Controller()
export class PointHandlers {
  constructor(@Inject(PointStore) private readonly points: PointStore) {}

  @OnQuery(listPoints)
  async list(request: Request<typeof listPoints>) {
    return this.points.page(request);
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
}
