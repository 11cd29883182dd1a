import {
  Controller,
  Inject,
  Req,
  RequestMapping,
  RequestMethod,
  Res,
  SetMetadata,
  type Type,
} from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { basePath, type Route } from '../api/route.js';
import { RouteServer } from './route-server.js';

/** Metadata of a handler: its route. */
export const routeKey = 'casvault:route';

/** `/platforms/{platformId}` as the router writes it. */
const routerPath = (path: string): string => path.replaceAll(/\{(\w+)\}/g, ':$1');

/** A Nest controller with one handler for each route of the table: no route is written twice. */
export const controllerOf = (routes: readonly Route[]): Type => {
  @Controller(basePath)
  class ApiController {
    constructor(@Inject(RouteServer) readonly server: RouteServer) {}
  }
  const prototype = ApiController.prototype as unknown as Record<string, unknown>;
  for (const route of routes) {
    const handler = function (
      this: ApiController,
      request: FastifyRequest,
      reply: FastifyReply,
    ): Promise<void> {
      return this.server.serve(route, request, reply);
    };
    const descriptor = { value: handler, writable: true, enumerable: false, configurable: true };
    Object.defineProperty(prototype, route.id, descriptor);
    Req()(prototype, route.id, 0);
    Res()(prototype, route.id, 1);
    SetMetadata(routeKey, route)(prototype, route.id, descriptor);
    RequestMapping({ path: routerPath(route.path), method: RequestMethod[route.method] })(
      prototype,
      route.id,
      descriptor,
    );
  }
  return ApiController;
};
