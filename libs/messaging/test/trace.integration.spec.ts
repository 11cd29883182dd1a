import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { context, trace } from '@opentelemetry/api';
import { defineCommand, defineQuery, Fault, newId, type Logger, type TransferId } from '@casvault/contracts';
import { recordSpans, startNats, until } from '@casvault/testkit';
import { z } from 'zod';
import {
  MessagingClient,
  NatsTransport,
  OnCommand,
  OnQuery,
  WorkQueue,
  type MessageContext,
} from '../src/index.js';

const ask = defineQuery('inventory', 'ask', 1, { request: z.object({}), reply: z.object({}) });
const act = defineCommand('inventory', 'act', 1, { payload: z.object({}) });

/** Knows only in which trace each line was written. */
class TraceLogger implements Logger {
  readonly lines: { message: string; traceId: string | undefined }[] = [];
  readonly #line = (_fields: object, message: string): void => {
    const traceId = trace.getSpanContext(context.active())?.traceId;
    this.lines.push({ message, traceId });
  };
  readonly debug = this.#line;
  readonly info = this.#line;
  readonly warn = this.#line;
  readonly error = this.#line;
}

@Controller()
class Handlers {
  constructor(private readonly client: MessagingClient) {}

  /** Fails the first time; then rings for work. */
  @OnCommand(act)
  async act(_payload: object, { attempt }: MessageContext): Promise<void> {
    if (attempt === 1) throw new Fault('DEPENDENCY_UNAVAILABLE', 'not now');
    await new WorkQueue(this.client).publishNudge('default', newId<TransferId>(), newId());
  }

  @OnQuery(ask)
  async ask(): Promise<Record<string, never>> {
    throw new TypeError('oops');
  }
}

describe('a trace', () => {
  it('goes with commands, their repetitions, nudges and queries, and with what is logged of them', async () => {
    const recorder = recordSpans();
    const logger = new TraceLogger();
    await using nats = await startNats();
    const client = await MessagingClient.connect({ url: nats.url, service: 'server', logger });
    @Module({ controllers: [Handlers], providers: [{ provide: MessagingClient, useValue: client }] })
    class Service {}
    const strategy = new NatsTransport(client);
    const app = await NestFactory.createMicroservice(Service, { strategy, logger: false });
    await app.listen();
    const ended = new AbortController();
    const worker = new WorkQueue(client).consume(
      'default',
      { signal: ended.signal, maxInFlight: 1 },
      async () => {
        await client.request(ask, {}).catch(() => undefined);
        ended.abort();
      },
    );

    const { traceId } = await recorder.inTrace(() => client.send(act, {}, { messageId: newId() }));
    await worker;
    await until(() => recorder.ended.some(({ name }) => name === 'work.default'));
    await app.close();
    await client.drain();

    const spans = recorder.ended.filter((span) => span.spanContext().traceId === traceId);
    const ids = new Set(spans.map((span) => span.spanContext().spanId));
    const named = (name: string) => spans.filter((span) => span.name === name);
    expect(spans.map(({ name }) => name).sort()).toEqual([
      'cmd.inventory.act.v1',
      'cmd.inventory.act.v1',
      'qry.inventory.ask.v1',
      'send cmd.inventory.act.v1',
      'send qry.inventory.ask.v1',
      'send work.default',
      'test',
      'work.default',
    ]);
    for (const span of spans) if (span.name !== 'test') expect(ids).toContain(span.parentSpanContext?.spanId);
    expect(named('work.default')[0]?.parentSpanContext?.spanId).toBe(
      named('send work.default')[0]?.spanContext().spanId,
    );
    expect(logger.lines.filter(({ message }) => /message failed|query failed/.test(message))).toEqual([
      { message: 'message failed, it comes again', traceId },
      { message: 'query failed', traceId },
    ]);
  });
});
