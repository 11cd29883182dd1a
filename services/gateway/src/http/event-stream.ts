import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import type { StreamEvent } from '../api/route.js';

/** Browsers wait this long before they connect again. */
const retryMs = 2_000;

/** One event in the format of the HTML standard's server-sent events. JSON has no line breaks of its own. */
export const eventText = ({ event, data }: StreamEvent): string =>
  event === null ? `: ${String(data)}\n\n` : `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;

/**
 * Sends events as they come, at the reader's pace. The first one is awaited before the headers: what fails before it is a
 * problem, not an empty stream.
 */
export const sendEvents = async (reply: FastifyReply, events: AsyncIterable<StreamEvent>): Promise<void> => {
  const iterator = events[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (reply.raw.destroyed) {
    // The reader left meanwhile: nobody would take the events, nor end them.
    await iterator.return?.();
    reply.hijack();
    return;
  }
  const text = async function* (): AsyncGenerator<string> {
    yield `retry: ${retryMs}\n\n`;
    try {
      for (let next = first; next.done !== true; next = await iterator.next()) yield eventText(next.value);
    } finally {
      await iterator.return?.();
    }
  };
  await reply
    .status(200)
    .headers({ 'Content-Type': 'text/event-stream; charset=utf-8', 'X-Accel-Buffering': 'no' })
    .send(Readable.from(text(), { objectMode: true, highWaterMark: 1 }));
};
