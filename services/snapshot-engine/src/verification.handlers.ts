import {
  createVerification,
  getPointVerification,
  getVerification,
  stopVerification,
} from '@casvault/contracts';
import { OnQuery, type MessageContext } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { VerificationStore } from './verification-store.js';
import { Verifications } from './verifications.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

@Controller()
export class VerificationHandlers {
  constructor(
    @Inject(Verifications) private readonly verifications: Verifications,
    @Inject(VerificationStore) private readonly store: VerificationStore,
  ) {}

  @OnQuery(createVerification)
  async create(request: Request<typeof createVerification>, { actor }: MessageContext) {
    return this.verifications.verify(request, actor ?? 'system');
  }

  @OnQuery(getVerification)
  async get({ verificationId }: Request<typeof getVerification>) {
    return this.store.get(verificationId);
  }

  @OnQuery(getPointVerification)
  async newest({ pointId }: Request<typeof getPointVerification>) {
    return this.store.newestOf(pointId);
  }

  @OnQuery(stopVerification)
  async stop({ verificationId }: Request<typeof stopVerification>) {
    return this.verifications.stop(verificationId);
  }
}
