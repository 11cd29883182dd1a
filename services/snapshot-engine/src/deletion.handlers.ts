import {
  cancelDeletion,
  confirmDeletion,
  createDeletion,
  getDeletion,
  holdChain,
  holdPoint,
  listDeletions,
} from '@casvault/contracts';
import { OnQuery, type MessageContext } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { DeletionStore } from './deletion-store.js';
import { Deletions } from './deletions.js';
import { Holds } from './holds.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

const nameOf = ({ actor }: MessageContext): string => actor ?? 'system';

@Controller()
export class DeletionHandlers {
  constructor(
    @Inject(Deletions) private readonly deletions: Deletions,
    @Inject(DeletionStore) private readonly store: DeletionStore,
    @Inject(Holds) private readonly holds: Holds,
  ) {}

  @OnQuery(createDeletion)
  async create(request: Request<typeof createDeletion>, context: MessageContext) {
    return this.deletions.preview(request, nameOf(context));
  }

  @OnQuery(getDeletion)
  async get({ deletionId }: Request<typeof getDeletion>) {
    return this.store.get(deletionId);
  }

  @OnQuery(listDeletions)
  async list(request: Request<typeof listDeletions>) {
    return this.store.page(request);
  }

  @OnQuery(confirmDeletion)
  async confirm({ deletionId }: Request<typeof confirmDeletion>, context: MessageContext) {
    return this.deletions.confirm(deletionId, nameOf(context));
  }

  @OnQuery(cancelDeletion)
  async cancel({ deletionId }: Request<typeof cancelDeletion>) {
    return this.deletions.cancel(deletionId);
  }

  @OnQuery(holdPoint)
  async holdPoint({ pointId, reason }: Request<typeof holdPoint>, context: MessageContext) {
    return this.holds.ofPoint(pointId, reason, nameOf(context));
  }

  @OnQuery(holdChain)
  async holdChain({ chainId, reason }: Request<typeof holdChain>, context: MessageContext) {
    return this.holds.ofChain(chainId, reason, nameOf(context));
  }
}
