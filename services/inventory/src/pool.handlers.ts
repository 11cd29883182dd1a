import { createPool, getPool, getPoolAccess, listPools } from '@casvault/contracts';
import { type MessageContext, OnQuery } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { Pools } from './pools.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

@Controller()
export class PoolHandlers {
  constructor(@Inject(Pools) private readonly pools: Pools) {}

  @OnQuery(createPool)
  async create(request: Request<typeof createPool>, context: MessageContext) {
    return this.pools.create(request, context.signal);
  }

  @OnQuery(listPools)
  async list(request: Request<typeof listPools>, context: MessageContext) {
    return this.pools.page(request, context.signal);
  }

  @OnQuery(getPool)
  async get({ poolId }: Request<typeof getPool>, context: MessageContext) {
    return this.pools.get(poolId, context.signal);
  }

  @OnQuery(getPoolAccess)
  async access({ poolId }: Request<typeof getPoolAccess>) {
    return this.pools.access(poolId);
  }
}
