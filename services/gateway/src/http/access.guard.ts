import { Fault, type Principal } from '@casvault/contracts';
import { Inject, Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import type { Route } from '../api/route.js';
import { Authenticator } from './authenticator.js';
import { recordOf } from './request-record.js';
import { routeKey } from './route.controller.js';
import { sentToken } from './session-cookie.js';

/** Throws FORBIDDEN unless the route is for this caller. */
export const checkAccess = (route: Route, principal: Principal): void => {
  if (route.sessionOnly === true && principal.via !== 'session')
    throw new Fault('FORBIDDEN', `${route.id} takes a signed-in session, not an API token`);
  const { access } = route;
  if (typeof access === 'string' || access.some((role) => principal.roles.includes(role))) return;
  throw new Fault('FORBIDDEN', `${route.id} is for the roles ${access.join(', ')}`, {
    details: { rolesAllowed: access.join(','), rolesHeld: principal.roles.join(',') },
  });
};

/** A browser says where a request comes from; a cookie is not taken from another site's page even if it were sent. */
const checkSameSite = (request: FastifyRequest): void => {
  const site = request.headers['sec-fetch-site'];
  if (request.method !== 'GET' && site !== undefined && site !== 'same-origin' && site !== 'none')
    throw new Fault('FORBIDDEN', 'the session cookie is taken from pages of this origin alone');
};

/** Finds out who calls and whether they may, from the route table. */
@Injectable()
export class AccessGuard implements CanActivate {
  constructor(
    @Inject(Reflector) private readonly reflector: Reflector,
    @Inject(Authenticator) private readonly authenticator: Authenticator,
  ) {}

  async canActivate(execution: ExecutionContext): Promise<boolean> {
    const route = this.reflector.get<Route | undefined>(routeKey, execution.getHandler());
    if (route === undefined) throw new Fault('BUG', 'a handler outside the route table');
    if (route.access === 'public') return true;
    const request = execution.switchToHttp().getRequest<FastifyRequest>();
    const sent = sentToken(request.headers);
    if (sent === null) throw new Fault('UNAUTHENTICATED', 'send a session or API token as a bearer token');
    if (sent.from === 'cookie') checkSameSite(request);
    const caller = await this.authenticator.authenticate(sent.token);
    const record = recordOf(request);
    if (record !== undefined) record.caller = caller;
    checkAccess(route, caller.principal);
    return true;
  }
}
