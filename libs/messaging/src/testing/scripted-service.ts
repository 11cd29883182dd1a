import 'reflect-metadata';
import { Controller, type INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type Command, type Event, type Logger, type Query } from '@casvault/contracts';
import { type z } from 'zod';
import { OnCommand, OnEvent, OnQuery } from '../handlers.js';
import { MessagingClient } from '../messaging-client.js';
import { NatsTransport } from '../nats-transport.js';

type Handle<P, R = void> = (payload: P) => Promise<R> | R;

/** Says what a played service does with each contract. */
export interface Script {
  readonly query: <Req extends z.ZodType, Rep extends z.ZodType>(
    contract: Query<Req, Rep>,
    answer: Handle<z.output<NoInfer<Req>>, z.input<NoInfer<Rep>>>,
  ) => void;
  readonly command: <P extends z.ZodType>(contract: Command<P>, handle: Handle<z.output<NoInfer<P>>>) => void;
  readonly event: <P extends z.ZodType>(contract: Event<P>, handle: Handle<z.output<NoInfer<P>>>) => void;
}

/** What another release makes of a contract. */
export type ContractOf = <C extends Query | Command | Event>(contract: C) => C;

/** The script, played by a service that has the contracts of another release. */
export const inContracts =
  (of: ContractOf, script: (script: Script) => void): ((script: Script) => void) =>
  ({ query, command, event }) =>
    script({
      query: (contract, answer) => query(of(contract), answer),
      command: (contract, handle) => command(of(contract), handle),
      event: (contract, handle) => event(of(contract), handle),
    });

type AnyHandle = (payload: never) => unknown;
type Decorate = (target: object, key: string, descriptor: PropertyDescriptor) => void;

const handlersOf = (write: (script: Script) => void): new () => object => {
  class Handlers {}
  let count = 0;
  const add = (decorate: Decorate, handle: AnyHandle): void => {
    const key = `handle${++count}`;
    const value = async (payload: never): Promise<unknown> => handle(payload);
    Object.defineProperty(Handlers.prototype, key, { value, configurable: true, writable: true });
    decorate(Handlers.prototype, key, { value });
  };
  write({
    query: (contract, answer) => add(OnQuery(contract), answer),
    command: (contract, handle) => add(OnCommand(contract), handle),
    event: (contract, handle) => add(OnEvent(contract), handle),
  });
  Controller()(Handlers);
  return Handlers;
};

/** A service played by a test, over the real transport: the other side of the one that is tested. */
export class ScriptedService {
  readonly #app: INestMicroservice;
  /** To send and ask in this service's name. */
  readonly client: MessagingClient;

  private constructor(app: INestMicroservice, client: MessagingClient) {
    this.#app = app;
    this.client = client;
  }

  static async start(
    options: { readonly url: string; readonly service: string; readonly logger: Logger },
    write: (script: Script) => void,
  ): Promise<ScriptedService> {
    const client = await MessagingClient.connect(options);
    class ScriptedModule {}
    const module = { module: ScriptedModule, controllers: [handlersOf(write)] };
    const strategy = new NatsTransport(client, { graceMs: 1_000 });
    const app = await NestFactory.createMicroservice(module, { strategy, logger: false });
    await app.listen();
    return new ScriptedService(app, client);
  }

  async stop(): Promise<void> {
    await this.#app.close();
    await this.client.close();
  }
}
