import { createHash, timingSafeEqual } from 'node:crypto';
import { Fault } from '@casvault/contracts';
import { Inject, Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';

/** The token that callers must send; null: none, they are known by their certificates. */
export const bearerToken = Symbol('bearerToken');

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/**
 * Bearer token, compared in constant time (digests, so that the length tells nothing either). Without a token configured,
 * the TLS layer has let in only callers with a certificate of the configured authority.
 */
@Injectable()
export class AccessGuard implements CanActivate {
  readonly #expected: Buffer | null;

  constructor(@Inject(bearerToken) token: string | null) {
    this.#expected = token === null ? null : digest(token);
  }

  canActivate(context: ExecutionContext): boolean {
    if (this.#expected === null) return true;
    const header = context.switchToHttp().getRequest<FastifyRequest>().headers.authorization ?? '';
    const token = /^Bearer (.+)$/i.exec(header)?.[1] ?? '';
    if (timingSafeEqual(digest(token), this.#expected)) return true;
    throw new Fault(
      'DISK_SERVICE_UNAUTHORISED',
      token === '' ? 'no bearer token was sent' : 'the bearer token is not the one of this disk service',
    );
  }
}
