import { PATTERN_EXTRAS_METADATA } from '@nestjs/microservices/constants.js';
import { Ctx, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { Catch, UseFilters, type RpcExceptionFilter } from '@nestjs/common';
import { type Command, type Event, type Query } from '@casvault/contracts';
import { throwError, type Observable } from 'rxjs';
import { type z } from 'zod';
import { type MessageContext } from './message-context.js';

export interface ConsumeOptions {
  /** Messages handled at the same time by one process: 8 for commands; 1 for events, which keeps their order. */
  readonly maxInFlight?: number;
}
/** What the transport finds beside a handler. */
export interface HandlerExtras {
  readonly contract: Query | Command | Event;
  readonly options: ConsumeOptions;
}
type HandlerDecorator<Args, Result> = <T extends (payload: Args, context: MessageContext) => Promise<Result>>(
  target: object,
  key: string | symbol,
  descriptor: TypedPropertyDescriptor<T>,
) => void;

/** Nest replaces errors by "Internal server error" unless a filter lets them pass. */
@Catch()
class FaultsPass implements RpcExceptionFilter {
  catch(error: unknown): Observable<never> {
    return throwError(() => (error instanceof RpcException ? error.getError() : error));
  }
}

const handler =
  (contract: Query | Command | Event, options: ConsumeOptions) =>
  (target: object, key: string | symbol, descriptor: PropertyDescriptor): void => {
    const extras: HandlerExtras = { contract, options };
    Payload()(target, key, 0);
    Ctx()(target, key, 1);
    UseFilters(new FaultsPass())(target, key, descriptor);
    MessagePattern(contract.subject, { ...extras })(target, key, descriptor);
  };

/** The method answers this query: `(payload, context) => Promise<reply>`. */
export const OnQuery = <Req extends z.ZodType, Rep extends z.ZodType>(
  contract: Query<Req, Rep>,
): HandlerDecorator<z.output<Req>, z.input<Rep>> => handler(contract, {});

/** The method carries out this command, at least once: `(payload, context) => Promise<void>`. */
export const OnCommand = <P extends z.ZodType>(
  contract: Command<P>,
  options: ConsumeOptions = {},
): HandlerDecorator<z.output<P>, void> => handler(contract, { maxInFlight: 8, ...options });

/** The method learns of this event, at least once per service (not per process). */
export const OnEvent = <P extends z.ZodType>(
  contract: Event<P>,
  options: ConsumeOptions = {},
): HandlerDecorator<z.output<P>, void> => handler(contract, { maxInFlight: 1, ...options });

export interface Handler {
  readonly contract: Query | Command | Event;
  readonly handle: (payload: unknown, context: MessageContext) => Promise<unknown>;
}

/** The handlers of a controller, for those who bring messages without NATS: simulators. */
export const handlersOf = (controller: object): readonly Handler[] => {
  const prototype = Object.getPrototypeOf(controller) as object;
  return Object.getOwnPropertyNames(prototype).flatMap((name): Handler[] => {
    const method = Reflect.get(prototype, name) as unknown;
    if (typeof method !== 'function') return [];
    const extras = Reflect.getMetadata(PATTERN_EXTRAS_METADATA, method) as HandlerExtras | undefined;
    const handle = method.bind(controller) as Handler['handle'];
    return extras ? [{ contract: extras.contract, handle }] : [];
  });
};
