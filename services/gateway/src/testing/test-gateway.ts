import { createHash } from 'node:crypto';
import { authenticate, Fault, type Role } from '@casvault/contracts';
import { testClock, TestLogger } from '@casvault/testkit';
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import * as examples from '../api/examples.js';
import { AppModule } from '../app.module.js';
import { configureHttp, fastifyOptions } from '../http-app.js';
import { RunFeed } from '../runs/run-feed.js';
import type { World } from '../world.js';
import { FakeServices, fakeSealer } from './fake-services.js';

/** Tokens that the fake licensing-auth knows. */
export const tokens = {
  administrator: 'token-administrator',
  operator: 'token-operator',
  auditor: 'token-auditor',
  apiToken: 'token-api',
} as const;

const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex');

const principals = new Map<string, unknown>(
  (['administrator', 'operator', 'auditor'] as const satisfies readonly Role[]).map((role) => [
    hashOf(tokens[role]),
    { ...examples.principal, userName: role, roles: [role] },
  ]),
);
principals.set(hashOf(tokens.apiToken), { ...examples.principal, via: 'token' });

export const knownTokens = ({ tokenHash }: { tokenHash: string }): unknown =>
  principals.get(tokenHash) ?? new Fault('UNAUTHENTICATED', 'the token is not known or has expired');

export interface TestGateway {
  readonly app: NestFastifyApplication;
  readonly services: FakeServices;
  readonly feed: RunFeed;
  readonly logger: TestLogger;
  readonly world: World;
  stop(): Promise<void>;
}

/** The whole HTTP surface over scripted services; not listening. */
export const testGateway = async (changes: Partial<World> = {}): Promise<TestGateway> => {
  const services = new FakeServices().on(authenticate, knownTokens);
  const stopping = new AbortController();
  const logger = new TestLogger();
  const feed = new RunFeed();
  const world: World = {
    services,
    sealer: fakeSealer,
    feed,
    clock: testClock,
    logger,
    isConnected: () => true,
    stopping: stopping.signal,
    version: '0.0.0',
    ...changes,
  };
  const adapter = new FastifyAdapter(fastifyOptions({ tls: null, trustedProxies: [] }, logger));
  const app = await NestFactory.create<NestFastifyApplication>(AppModule.of(world), adapter, {
    bodyParser: false,
    logger: false,
    abortOnError: false,
  });
  configureHttp(app, logger);
  await app.init();
  await app.getHttpAdapter().getInstance().ready();
  const stop = async (): Promise<void> => {
    stopping.abort();
    await app.close();
  };
  return { app, services, feed, logger, world, stop };
};

export const bearer = (role: keyof typeof tokens): Record<string, string> => ({
  authorization: `Bearer ${tokens[role]}`,
});
