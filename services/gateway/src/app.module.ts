import { authenticate } from '@casvault/contracts';
import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER, APP_GUARD } from '@nestjs/core';
import { routes } from './api/table.js';
import { AccessGuard } from './http/access.guard.js';
import { Authenticator } from './http/authenticator.js';
import { ProblemFilter } from './http/problem.filter.js';
import { controllerOf } from './http/route.controller.js';
import { RouteServer } from './http/route-server.js';
import { openApiOf } from './openapi/openapi.js';
import type { World } from './world.js';

const authenticateDeadlineMs = 5_000;

/** The only wiring. */
@Module({})
export class AppModule {
  static of(world: World): DynamicModule {
    const authenticator = new Authenticator({
      clock: world.clock,
      lookUp: (tokenHash) =>
        world.services.request(authenticate, { tokenHash }, { deadlineMs: authenticateDeadlineMs }),
    });
    return {
      module: AppModule,
      controllers: [controllerOf(routes)],
      providers: [
        { provide: Authenticator, useValue: authenticator },
        {
          provide: RouteServer,
          useValue: new RouteServer(world, authenticator, openApiOf(routes, world.version)),
        },
        { provide: APP_GUARD, useClass: AccessGuard },
        { provide: APP_FILTER, useValue: new ProblemFilter(world.logger) },
      ],
    };
  }
}
