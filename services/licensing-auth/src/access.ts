import {
  Fault,
  newId,
  type createApiToken,
  type Principal,
  type signIn,
  type UserId,
} from '@casvault/contracts';
import { type Clock, type Logger } from '@casvault/contracts';
import { type Sealer } from '@casvault/service-host';
import { type z } from 'zod';
import { generatePassword, generateToken, hashPassword, hashToken, passwordMatches } from './password.js';
import { type TokenStore } from './token-store.js';
import { type User, type UserStore } from './user-store.js';

interface World {
  readonly users: UserStore;
  readonly tokens: TokenStore;
  readonly sealer: Sealer;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly sessionMs: number;
}

const principalOf = (user: User, via: Principal['via']): Principal => ({
  userId: user.id,
  userName: user.name,
  roles: user.roles,
  via,
});

/** Who may come in, and as whom (B4, B5). */
export class Access {
  constructor(private readonly world: World) {}

  /** LOGIN_FAILED says nothing about which of the two was wrong; LOGIN_THROTTLED says when to try again. */
  async signIn(request: z.output<typeof signIn.request>): Promise<z.output<typeof signIn.reply>> {
    const { users, tokens, sealer, clock, sessionMs } = this.world;
    const byName = `user:${request.userName.toLowerCase()}`;
    const byAddress = `address:${request.clientAddress}`;
    await this.refuseGuesser([byName, byAddress]);
    const user = await users.findByName(request.userName);
    const now = clock.now();
    if (!(await passwordMatches(user?.passwordHash ?? null, sealer.open(request.password))) || user === null)
      throw new Fault('LOGIN_FAILED', 'the user name or the password is wrong');
    await users.endSignIn(byName, byAddress);
    const token = generateToken('session');
    const expiresAt = new Date(now.getTime() + sessionMs);
    await tokens.addSession({ tokenHash: hashToken(token), userId: user.id, createdAt: now, expiresAt });
    this.world.logger.info({ userId: user.id, clientAddress: request.clientAddress }, 'signed in');
    return {
      token: sealer.seal(token),
      expiresAt: expiresAt.toISOString(),
      principal: principalOf(user, 'session'),
    };
  }

  async signOut(tokenHash: string): Promise<void> {
    await this.world.tokens.removeSession(tokenHash);
  }

  async authenticate(tokenHash: string): Promise<Principal> {
    const { users, tokens, clock } = this.world;
    const holder = await tokens.holderOf(tokenHash, clock.now());
    const user = holder && (await users.find(holder.userId));
    if (!holder || !user) throw new Fault('UNAUTHENTICATED', 'the token is unknown, expired or revoked');
    return principalOf(user, holder.via);
  }

  async createApiToken(
    request: z.output<typeof createApiToken.request>,
  ): Promise<z.output<typeof createApiToken.reply>> {
    const { tokens, sealer, clock } = this.world;
    const { id, userId, name, expiresAt } = request;
    const now = clock.now();
    if (expiresAt !== null && new Date(expiresAt) <= now)
      throw new Fault('INPUT_INVALID', `expiresAt: must be in the future, is ${expiresAt}`, {
        details: { field: 'expiresAt', rule: 'must be in the future', value: expiresAt },
      });
    const token = generateToken('token');
    const expiry = expiresAt === null ? null : new Date(expiresAt);
    await tokens.addApiToken({
      id,
      userId,
      name,
      tokenHash: hashToken(token),
      createdAt: now,
      expiresAt: expiry,
    });
    return { id, name, token: sealer.seal(token), expiresAt };
  }

  /**
   * The first administrator, if there is no user yet: `announce` gets the generated password, this once, before the account is
   * committed: a crash between the two leaves a password that is worth nothing and an account still to be made.
   */
  async bootstrap(announce: (userName: string, password: string) => Promise<void>): Promise<void> {
    const { users, clock, logger } = this.world;
    const password = generatePassword();
    const user = {
      id: newId<UserId>(),
      name: 'admin',
      passwordHash: await hashPassword(password),
      roles: ['administrator' as const],
      createdAt: clock.now(),
    };
    if (await users.addFirst(user, () => announce(user.name, password)))
      logger.info({ userName: user.name }, 'made the first administrator');
  }

  private async refuseGuesser(subjects: readonly string[]): Promise<void> {
    const { users, clock } = this.world;
    const waitMs = await users.beginSignIn(subjects, clock.now());
    if (waitMs <= 0) return;
    const retryAfterSeconds = Math.ceil(waitMs / 1000);
    throw new Fault('LOGIN_THROTTLED', `too many failed sign-ins: try again in ${retryAfterSeconds} s`, {
      details: { retryAfterSeconds },
    });
  }
}
