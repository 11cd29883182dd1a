import { request as requestHttp, type IncomingMessage } from 'node:http';
import { Fault, faultSchema } from '@casvault/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Content } from '../api/route.js';

/** For the mover to open the point. */
const openMs = 60_000;
/** Of an error's body. */
const maxErrorBytes = 64 * 1024;
const passedOn = ['content-type', 'content-length', 'content-range', 'accept-ranges', 'etag'] as const;
const statuses = new Set([200, 206, 416]);

/**
 * Passes on what a mover streams, at the reader's pace: status, ranges and identity are the mover's. It ends with the reader (`signal`), which
 * closes the mover's end. Memory: the buffers of two sockets. Faults: the mover's own, DEPENDENCY_UNAVAILABLE when it can't be reached.
 */
export const sendContent = async (
  { url, ticket, fileName }: Content,
  { headers }: Pick<FastifyRequest, 'headers'>,
  reply: FastifyReply,
  signal: AbortSignal,
): Promise<void> => {
  const { range, 'if-range': ifRange } = headers;
  const answer = await ask(url, signal, {
    authorization: `Bearer ${ticket}`,
    ...(range === undefined ? {} : { range }),
    ...(typeof ifRange === 'string' ? { 'if-range': ifRange } : {}),
  });
  if (!statuses.has(answer.statusCode ?? 0)) throw await faultOf(answer);
  const disposition = `attachment; filename="${fileName.replaceAll(/[^A-Za-z0-9_.-]/g, '_')}"`;
  const told = passedOn.flatMap((name) => {
    const value = answer.headers[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  await reply
    .status(answer.statusCode ?? 200)
    .headers({ ...Object.fromEntries(told), 'Content-Disposition': disposition })
    .send(answer);
};

const ask = (url: string, signal: AbortSignal, headers: Record<string, string>): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    const unreachable = (cause: unknown) =>
      reject(
        new Fault('DEPENDENCY_UNAVAILABLE', 'the mover that holds the content can not be reached', { cause }),
      );
    const request = requestHttp(url, { headers, signal, timeout: openMs }, resolve);
    request.once('timeout', () => request.destroy(new Error('no answer in time')));
    request.once('error', unreachable);
    request.end();
  });

const faultOf = async (answer: IncomingMessage): Promise<Fault> => {
  const unknown = new Fault('DEPENDENCY_UNAVAILABLE', `the mover answered with ${answer.statusCode}`);
  let text = '';
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    text += chunk.toString('utf8');
    if (text.length > maxErrorBytes) return unknown;
  }
  try {
    const fault = Fault.fromJSON(faultSchema.parse(JSON.parse(text)));
    // Its ticket is between us and the mover: the caller has signed in.
    return fault.code === 'UNAUTHENTICATED' ? unknown : fault;
  } catch {
    return unknown;
  }
};
