export { handlersOf, OnCommand, OnEvent, OnQuery, type ConsumeOptions, type Handler } from './handlers.js';
export { type MessageContext } from './message-context.js';
export {
  MessagingClient,
  type Messenger,
  type RequestOptions,
  type SendOptions,
} from './messaging-client.js';
export { type NatsOptions } from './nats-options.js';
export { NatsTransport } from './nats-transport.js';
export { WorkQueue, type WorkLane } from './work-queue.js';
