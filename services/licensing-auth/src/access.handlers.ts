import {
  authenticate,
  createApiToken,
  listApiTokens,
  revokeApiToken,
  signIn,
  signOut,
  type Clock,
} from '@casvault/contracts';
import { OnQuery } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { Access } from './access.js';
import { TokenStore } from './token-store.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

export const CLOCK = Symbol('clock');

@Controller()
export class AccessHandlers {
  constructor(
    @Inject(Access) private readonly access: Access,
    @Inject(TokenStore) private readonly tokens: TokenStore,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  @OnQuery(signIn)
  async signIn(request: Request<typeof signIn>) {
    return this.access.signIn(request);
  }

  @OnQuery(signOut)
  async signOut({ tokenHash }: Request<typeof signOut>) {
    await this.access.signOut(tokenHash);
    return {};
  }

  @OnQuery(authenticate)
  async authenticate({ tokenHash }: Request<typeof authenticate>) {
    return this.access.authenticate(tokenHash);
  }

  @OnQuery(createApiToken)
  async createApiToken(request: Request<typeof createApiToken>) {
    return this.access.createApiToken(request);
  }

  @OnQuery(listApiTokens)
  async listApiTokens(request: Request<typeof listApiTokens>) {
    return this.tokens.page(request);
  }

  @OnQuery(revokeApiToken)
  async revokeApiToken({ userId, id }: Request<typeof revokeApiToken>) {
    await this.tokens.revoke(userId, id, this.clock.now());
    return {};
  }
}
