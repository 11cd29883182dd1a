import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Module, type INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { defineCommand, defineEvent, defineQuery, Fault, newId, type TransferId } from '@casvault/contracts';
import { startNats, TestLogger, until, type NatsServer } from '@casvault/testkit';
import { z } from 'zod';
import {
  MessagingClient,
  NatsTransport,
  OnCommand,
  OnEvent,
  OnQuery,
  WorkQueue,
  type MessageContext,
} from '../src/index.js';

const ask = defineQuery('inventory', 'ask', 1, {
  request: z.object({ what: z.string(), n: z.number().default(7) }),
  reply: z.object({ by: z.string(), got: z.record(z.string(), z.unknown()) }),
});
const act = defineCommand('inventory', 'act', 1, { payload: z.object({ what: z.string() }) });
const happened = defineEvent('inventory', 'happened', 1, { payload: z.object({ what: z.string() }) });

interface Seen {
  readonly by: string;
  readonly what: string;
  readonly attempt: number;
  readonly messageId: string;
}

/** A replica of the service `server`, with what it saw. */
class Replica {
  readonly commands: Seen[] = [];
  readonly events: Seen[] = [];
  aborted = 0;
  now = 0;
  most = 0;
  private constructor(
    readonly name: string,
    readonly client: MessagingClient,
  ) {}
  app!: INestMicroservice;

  static async start(url: string, name: string, graceMs = 2_000): Promise<Replica> {
    const logger = new TestLogger();
    const replica = new Replica(name, await MessagingClient.connect({ url, service: 'server', logger }));
    const app = await NestFactory.createMicroservice(moduleOf(replica), {
      strategy: new NatsTransport(replica.client, { graceMs }),
      logger: false,
    });
    await app.listen();
    replica.app = app;
    return replica;
  }
  async stop(): Promise<void> {
    await this.app.close();
    await this.client.drain();
  }
  /** As a process that dies: nothing is acknowledged any more. */
  async die(): Promise<void> {
    await this.client.close();
    await this.app.close();
  }
}

const moduleOf = (replica: Replica) => {
  @Controller()
  class Handlers {
    @OnQuery(ask)
    async ask(payload: z.output<typeof ask.request>, { signal, actor }: MessageContext) {
      if (payload.what === 'fault') throw new Fault('POOL_FULL', 'no space', { details: { free: 0 } });
      if (payload.what === 'error') throw new TypeError('oops');
      if (payload.what === 'wrong') return { by: 3 as unknown as string, got: {} };
      if (payload.what === 'big') return { by: 'x'.repeat(2 * 1024 * 1024), got: {} };
      if (payload.what === 'slow') {
        await sleep(60_000, undefined, { signal }).catch(() => (replica.aborted += 1));
        await sleep(100);
      }
      return { by: replica.name, got: { ...payload, actor } };
    }
    @OnCommand(act, { maxInFlight: 2 })
    async act({ what }: z.output<typeof act.payload>, { attempt, messageId, signal }: MessageContext) {
      replica.commands.push({ by: replica.name, what, attempt, messageId });
      replica.now += 1;
      replica.most = Math.max(replica.most, replica.now);
      try {
        if (what === 'refused') throw new Fault('CONFLICT', 'not now, not later');
        if (what === 'busy' && attempt < 3) throw new Fault('DEPENDENCY_UNAVAILABLE', 'not now');
        if (what === 'bug') throw new TypeError('oops');
        if (what === 'short') await sleep(100);
        if (what.startsWith('long')) await sleep(40_000, undefined, { signal });
      } finally {
        replica.now -= 1;
      }
    }
    @OnEvent(happened)
    async happened({ what }: z.output<typeof happened.payload>, { attempt, messageId }: MessageContext) {
      replica.events.push({ by: replica.name, what, attempt, messageId });
    }
  }
  @Module({ controllers: [Handlers] })
  class ReplicaModule {}
  return ReplicaModule;
};

describe('messaging', () => {
  let nats: NatsServer;
  let client: MessagingClient;
  const replicas: Replica[] = [];
  const replica = async (name: string, graceMs?: number) => {
    const started = await Replica.start(nats.url, name, graceMs);
    replicas.push(started);
    return started;
  };
  const commandsOf = (what: string) =>
    replicas.flatMap(({ commands }) => commands).filter((seen) => seen.what === what);

  beforeAll(async () => {
    nats = await startNats({ auth: { user: 'casvault', password: 'p@ss' } });
    client = await MessagingClient.connect({ url: nats.url, service: 'test', logger: new TestLogger() });
  });
  afterEach(async () => {
    for (const running of replicas.splice(0))
      if (!running.client.link.connection.isClosed()) await running.stop();
    for (const stream of ['CMD', 'EVT'])
      await client.link.manager.streams.purge(stream).catch(() => undefined);
  });
  afterAll(async () => {
    await client.close();
    await nats[Symbol.asyncDispose]();
  });

  describe('queries', () => {
    it('carry requests, replies, defaults and the actor; unknown keys are dropped', async () => {
      await replica('one');
      const extra = { what: 'hello', surprise: true };
      const reply = await client.request(ask, extra, { actor: 'admin' });
      expect(reply).toEqual({ by: 'one', got: { what: 'hello', n: 7, actor: 'admin' } });
    });

    it('carry faults as they are, and errors as bugs', async () => {
      await replica('one');
      await expect(client.request(ask, { what: 'fault' })).rejects.toMatchObject({
        code: 'POOL_FULL',
        message: 'no space',
        details: { free: 0 },
        kind: 'conflict',
      });
      await expect(client.request(ask, { what: 'error' })).rejects.toMatchObject({ code: 'BUG' });
      await expect(client.request(ask, { what: 'wrong' })).rejects.toMatchObject({ code: 'BUG' });
      await expect(client.request(ask, { what: 'big' })).rejects.toMatchObject({ code: 'BUG' });
    });

    it('refuse wrong payloads on both sides', async () => {
      await replica('one');
      const wrong = { what: 3 as unknown as string };
      await expect(client.request(ask, wrong)).rejects.toMatchObject({ code: 'BUG' });
      const lax = { ...ask, request: z.any() };
      await expect(client.request(lax, wrong)).rejects.toMatchObject({
        code: 'INPUT_INVALID',
        message: expect.stringContaining('what:') as string,
      });
      await expect(client.request(lax, 'text')).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    });

    it('end at their deadline on both sides, and when the caller stops waiting', async () => {
      const one = await replica('one');
      const began = performance.now();
      await expect(client.request(ask, { what: 'slow' }, { deadlineMs: 500 })).rejects.toMatchObject({
        code: 'DEADLINE_EXCEEDED',
      });
      expect(performance.now() - began).toBeLessThan(30_000);
      await until(() => one.aborted === 1);
      const stopping = AbortSignal.timeout(200);
      await expect(
        client.request(ask, { what: 'slow' }, { signal: stopping, deadlineMs: 1_000 }),
      ).rejects.toMatchObject({ code: 'STOPPED' });
    });

    it('of minutes tell of the death of their handler within seconds, and of nothing while it lives', async () => {
      const one = await replica('one');
      const began = performance.now();
      const asking = client.request(ask, { what: 'slow' }, { deadlineMs: 300_000 });
      const dying = sleep(3_000).then(() => one.die());
      await expect(asking).rejects.toMatchObject({
        code: 'DEPENDENCY_UNAVAILABLE',
        message: 'whoever handled qry.inventory.ask.v1 is gone',
      });
      await dying;
      expect(performance.now() - began).toBeGreaterThan(3_000);
      expect(performance.now() - began).toBeLessThan(60_000);
    });

    it('are shared between replicas, and unavailable without any', async () => {
      await expect(client.request(ask, { what: 'x' })).rejects.toMatchObject({
        code: 'DEPENDENCY_UNAVAILABLE',
      });
      await replica('one');
      await replica('two');
      const by = new Set<string>();
      for (let n = 0; n < 60; n++) by.add((await client.request(ask, { what: 'x' })).by);
      expect([...by].sort()).toEqual(['one', 'two']);
    });

    it('wait for a service that is just starting', async () => {
      const asking = client.request(ask, { what: 'early' });
      await sleep(300);
      await replica('late');
      expect((await asking).by).toBe('late');
    });
  });

  describe('commands', () => {
    it('are handled, repeated when a passing cause stops them, and dropped when refused', async () => {
      await replica('one');
      for (const what of ['good', 'busy', 'refused', 'bug'])
        await client.send(act, { what }, { messageId: `c-${what}` });
      await until(() => commandsOf('busy').length === 3);
      await until(() => commandsOf('bug').length === 3);
      await sleep(1_500);
      expect(commandsOf('good')).toEqual([{ by: 'one', what: 'good', attempt: 1, messageId: 'c-good' }]);
      expect(commandsOf('busy').map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
      expect(commandsOf('refused')).toHaveLength(1);
      expect(commandsOf('bug')).toHaveLength(3);
    });

    it('with one message id are stored once', async () => {
      for (let n = 0; n < 3; n++) await client.send(act, { what: 'once' }, { messageId: 'c-once' });
      await replica('one');
      await client.send(act, { what: 'last' }, { messageId: 'c-last' });
      await until(() => commandsOf('last').length === 1);
      expect(commandsOf('once')).toHaveLength(1);
    });

    it('are taken only as fast as they are handled, and shared between replicas', async () => {
      const [one, two] = [await replica('one'), await replica('two')];
      for (let n = 0; n < 20; n++) await client.send(act, { what: 'short' }, { messageId: newId() });
      await until(() => commandsOf('short').length === 20);
      expect(one.most).toBe(2);
      expect(two.most).toBe(2);
    });

    it('go to another replica when theirs dies, and stay where they are while it works', async () => {
      const [one, two] = [await replica('one'), await replica('two')];
      await client.send(act, { what: 'long-1' }, { messageId: newId() });
      await until(() => commandsOf('long-1').length === 1);
      const holder = commandsOf('long-1')[0]?.by === 'one' ? one : two;
      const other = holder === one ? two : one;
      await client.send(act, { what: 'long-2' }, { messageId: newId() });
      await client.send(act, { what: 'long-3' }, { messageId: newId() });
      await until(() => commandsOf('long-2').length + commandsOf('long-3').length === 2);
      await holder.die();
      await until(() => other.commands.some(({ what, attempt }) => what === 'long-1' && attempt === 2));
      await sleep(10_000);
      const survived = other.commands.filter(({ attempt, what }) => attempt === 1 && what.startsWith('long'));
      for (const { what } of survived) expect(commandsOf(what)).toHaveLength(1);
    });

    it('come again after a drain that could not wait', async () => {
      const one = await replica('one', 300);
      await client.send(act, { what: 'long-4' }, { messageId: newId() });
      await until(() => commandsOf('long-4').length === 1);
      const began = performance.now();
      await one.stop();
      expect(performance.now() - began).toBeLessThan(20_000);
      await replica('two');
      await until(() => commandsOf('long-4').length === 2);
    });
  });

  describe('events', () => {
    it('reach every service once, and every live subscriber', async () => {
      await replica('one');
      await replica('two');
      const live: string[] = [];
      const { unsubscribe } = client.subscribeEvents(happened, ({ what }) => live.push(what));
      await client.publish(happened, { what: 'a' }, { messageId: newId() });
      await client.publish(happened, { what: 'b' }, { messageId: newId() });
      await until(() => replicas.flatMap(({ events }) => events).length >= 2);
      await sleep(300);
      expect(replicas.flatMap(({ events }) => events.map(({ what }) => what)).sort()).toEqual(['a', 'b']);
      expect(live).toEqual(['a', 'b']);
      unsubscribe();
      await client.publish(happened, { what: 'c' }, { messageId: newId() });
      await until(() => replicas.flatMap(({ events }) => events).length === 3);
      expect(live).toEqual(['a', 'b']);
    });

    it('keep their order within a service that has one replica', async () => {
      const one = await replica('one');
      const sent: string[] = [];
      for (let n = 0; n < 100; n++) sent.push(`ordered-${n}`);
      for (const what of sent) await client.publish(happened, { what }, { messageId: what });
      await until(() => one.events.length >= 100);
      expect(one.events.map(({ what }) => what).filter((what) => what.startsWith('ordered'))).toEqual(sent);
    });
  });

  describe('outages', () => {
    it('of the server, data kept: nothing stored is lost, and callers are told', async () => {
      const one = await replica('one');
      await client.send(act, { what: 'short' }, { messageId: newId() });
      await nats.kill();
      await until(() => !client.connected);
      await expect(client.request(ask, { what: 'x' })).rejects.toMatchObject({
        code: 'DEPENDENCY_UNAVAILABLE',
      });
      await expect(client.send(act, { what: 'x' }, { messageId: newId() })).rejects.toMatchObject({
        code: 'DEPENDENCY_UNAVAILABLE',
      });
      await sleep(3_000);
      await nats.start();
      await until(() => client.connected && one.client.connected);
      await client.send(act, { what: 'after' }, { messageId: newId() });
      await until(() => commandsOf('after').length === 1);
      expect((await client.request(ask, { what: 'x' })).by).toBe('one');
      expect(commandsOf('short').length).toBeGreaterThanOrEqual(1);
    });

    it('that lose the streams: they and the consumers are made anew', async () => {
      const one = await replica('one');
      await client.send(act, { what: 'before' }, { messageId: newId() });
      await until(() => one.commands.length === 1);
      await nats.lose();
      await nats.start();
      await until(() => client.connected);
      await client.send(act, { what: 'anew' }, { messageId: newId() });
      await until(() => commandsOf('anew').length === 1);
    });

    it('that lose a consumer: it is made anew and misses nothing', async () => {
      await replica('one');
      const { hostname, port } = new URL(nats.url);
      const raw = await connect({ servers: `${hostname}:${port}`, user: 'casvault', pass: 'p@ss' });
      const manager = await jetstreamManager(raw);
      const lost = await until(() => manager.consumers.info('CMD', 'server_inventory_act_v1'));
      // The server forgets it at once; that its folder was still being written is no more than a word of its answer.
      await manager.consumers.delete('CMD', 'server_inventory_act_v1').catch((error: unknown) => {
        if (!String(error).includes('directory not empty')) throw error;
      });
      await client.send(act, { what: 'kept' }, { messageId: newId() });
      await until(() => commandsOf('kept').length >= 1);
      const anew = await manager.consumers.info('CMD', 'server_inventory_act_v1');
      expect(anew.created).not.toBe(lost.created);
      await raw.close();
    });
  });

  describe('work queues', () => {
    it('give each nudge to one worker of the group, no more than it can carry', async () => {
      const queue = new WorkQueue(client);
      const stop = new AbortController();
      const got: string[] = [];
      let [now, most] = [0, 0];
      const worker = (group: string) =>
        queue.consume(group, { signal: stop.signal, maxInFlight: 2 }, async ({ transferId }) => {
          now += 1;
          most = Math.max(most, now);
          await sleep(50);
          now -= 1;
          got.push(`${group} ${transferId}`);
        });
      const workers = [worker('site a/主'), worker('site-b')];
      const sent: string[] = [];
      for (let n = 0; n < 10; n++)
        for (const group of ['site a/主', 'site-b']) {
          const transferId = newId<TransferId>();
          sent.push(`${group} ${transferId}`);
          await queue.publishNudge(group, transferId, newId());
        }
      await until(() => got.length === sent.length);
      expect(got.sort()).toEqual(sent.sort());
      expect(most).toBeLessThanOrEqual(4);
      stop.abort();
      await Promise.all(workers);
    });

    it('ring again for a worker that could not, until one can', async () => {
      const queue = new WorkQueue(client);
      const stop = new AbortController();
      const attempts: number[] = [];
      const worker = queue.consume(
        'site-c',
        { signal: stop.signal, maxInFlight: 1 },
        async (_, { attempt }) => {
          attempts.push(attempt);
          if (attempt < 3) throw new Fault('POOL_UNREACHABLE', 'not now');
        },
      );
      await queue.publishNudge('site-c', newId<TransferId>(), newId());
      await until(() => attempts.length === 3);
      stop.abort();
      await worker;
    });
  });
});
