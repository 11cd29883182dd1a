import { listLiveItems, listNeededCheckpoints, listProtectedVms } from '@casvault/contracts';
import { OnQuery } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { OwnershipStore } from './ownership-store.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

@Controller()
export class OwnershipHandlers {
  constructor(@Inject(OwnershipStore) private readonly ownership: OwnershipStore) {}

  @OnQuery(listLiveItems)
  async liveItems({ itemIds }: Request<typeof listLiveItems>) {
    return { itemIds: await this.ownership.liveItems(itemIds) };
  }

  @OnQuery(listProtectedVms)
  async protectedVms({ vmIds }: Request<typeof listProtectedVms>) {
    return { vmIds: await this.ownership.protectedVms(vmIds) };
  }

  @OnQuery(listNeededCheckpoints)
  async neededCheckpoints({ names }: Request<typeof listNeededCheckpoints>) {
    return this.ownership.judgeCheckpoints(names);
  }
}
