import { type Fault } from '@casvault/contracts';
import { Coverage } from './coverage.js';
import { type Incoming } from './inlet.js';
import { ioFault, protocolFault } from './nbd-faults.js';
import {
  chunk,
  chunkError,
  chunkErrorBit,
  chunkFlagDone,
  maxDescriptors,
  maxStringBytes,
  readOffset,
  shutdownErrno,
  simpleReplyMagic,
  structuredReplyMagic,
} from './nbd-wire.js';

interface PendingBase {
  /** What the request does, for messages: `read`, `write` ... */
  readonly what: string;
  readonly offset: number;
  readonly length: number;
  /** The first error that its reply carried. */
  fault: Fault | null;
  readonly settle: (fault: Fault | null) => void;
}

/** A read: its payload goes straight into `into`. */
export interface PendingRead extends PendingBase {
  readonly kind: 'read';
  readonly into: Uint8Array;
  readonly covered: Coverage;
}

/** A block status query: the descriptors of the wanted context are kept, those of others are checked and dropped. */
export interface PendingStatus extends PendingBase {
  readonly kind: 'status';
  readonly contextId: number;
  descriptors: Buffer | null;
}

/** A request whose reply has no payload. */
export interface PendingPlain extends PendingBase {
  readonly kind: 'plain';
}

export type PendingRequest = PendingRead | PendingStatus | PendingPlain;
/** Requests sent and not yet answered, by cookie. */
export type PendingTable = Map<number, PendingRequest>;

export const pendingRead = (
  offset: number,
  into: Uint8Array,
  settle: PendingBase['settle'],
): PendingRead => ({
  kind: 'read',
  what: 'read',
  offset,
  length: into.length,
  into,
  covered: new Coverage(),
  fault: null,
  settle,
});

/** Longest error chunk: error, message with its length, offset. Unknown error chunks may be somewhat longer. */
const maxErrorBytes = 4 + 2 + maxStringBytes + 8 + 64;

/**
 * Parses replies for ever; takes a request out of the table and settles it when its reply is complete. `shuttingDown` is
 * called when the server says so: the client must leave then.
 */
export function* receiveReplies(
  pending: PendingTable,
  terms: { readonly structured: boolean; readonly contexts: ReadonlyMap<number, string> },
  shuttingDown: () => void,
): Incoming<never> {
  const head = Buffer.alloc(20);
  const place = Buffer.alloc(12);
  for (;;) {
    yield head.subarray(0, 16);
    const magic = head.readUInt32BE(0);
    const cookie = head.readUInt32BE(12);
    const request = head.readUInt32BE(8) === 0 ? pending.get(cookie) : undefined;
    if (magic !== simpleReplyMagic && magic !== structuredReplyMagic) {
      throw protocolFault(`wrong magic ${magic.toString(16)} of a reply`);
    }
    if (request === undefined) throw protocolFault('reply to a request that is not outstanding');
    if (magic === simpleReplyMagic) {
      yield* simpleReply(request, head.readUInt32BE(4), terms.structured);
      complete(pending, cookie, request, shuttingDown);
      continue;
    }
    if (!terms.structured) throw protocolFault('structured reply, which was not agreed');
    yield head.subarray(16);
    const final = (head.readUInt16BE(4) & chunkFlagDone) !== 0;
    const shape = { type: head.readUInt16BE(6), length: head.readUInt32BE(16), final };
    yield* structuredChunk(request, shape, place, terms.contexts);
    if (final) complete(pending, cookie, request, shuttingDown);
  }
}

function complete(
  pending: PendingTable,
  cookie: number,
  request: PendingRequest,
  shuttingDown: () => void,
): void {
  if (request.fault === null) checkComplete(request);
  pending.delete(cookie);
  request.settle(request.fault);
  if (request.fault?.details['errno'] === shutdownErrno) shuttingDown();
}

function checkComplete(request: PendingRequest): void {
  if (request.kind === 'read' && !request.covered.covers(0, request.length)) {
    throw protocolFault('read declared done before all of its bytes came');
  }
  if (request.kind === 'status' && request.descriptors === null) {
    throw protocolFault('block status without the agreed context');
  }
}

function* simpleReply(request: PendingRequest, errno: number, structured: boolean): Incoming<void> {
  if (request.kind === 'read' && structured) throw protocolFault('simple reply to a read');
  if (errno !== 0) {
    request.fault = ioFault(request.what, errno, request.offset, '');
    return;
  }
  if (request.kind === 'status') throw protocolFault('simple reply to a block status query');
  if (request.kind !== 'read') return;
  request.covered.add(0, request.length);
  yield request.into;
}

/** `place` takes the fixed part of content chunks: one buffer per connection, not one per chunk. */
function* structuredChunk(
  request: PendingRequest,
  { type, length, final }: { type: number; length: number; final: boolean },
  place: Buffer,
  contexts: ReadonlyMap<number, string>,
): Incoming<void> {
  if (type === chunk.offsetData && request.kind === 'read') yield* dataChunk(request, length, place);
  else if (type === chunk.offsetHole && request.kind === 'read') yield* holeChunk(request, length, place);
  else if (type === chunk.blockStatus && request.kind === 'status') {
    yield* statusChunk(request, length, contexts);
  } else if (type === chunk.none) {
    if (length !== 0 || !final) throw protocolFault('empty chunk that is not empty or not the last');
  } else if ((type & chunkErrorBit) !== 0) yield* errorChunk(request, type, length);
  else throw protocolFault(`unexpected chunk type ${type} in the reply to a ${request.what}`);
}

function* dataChunk(request: PendingRead, length: number, place: Buffer): Incoming<void> {
  if (length < 9) throw protocolFault(`data chunk of ${length} bytes`);
  yield place.subarray(0, 8);
  yield claim(request, readOffset(place, 0), length - 8);
}

function* holeChunk(request: PendingRead, length: number, place: Buffer): Incoming<void> {
  if (length !== 12) throw protocolFault(`hole chunk of ${length} bytes instead of 12`);
  yield place;
  claim(request, readOffset(place, 0), place.readUInt32BE(8)).fill(0);
}

/** The part of the destination that a content chunk describes, checked against the request and earlier chunks. */
function claim(request: PendingRead, offset: number | null, length: number): Uint8Array {
  const start = offset === null ? -1 : offset - request.offset;
  if (length === 0 || start < 0 || start + length > request.length) {
    throw protocolFault('content chunk outside its request');
  }
  if (!request.covered.add(start, start + length)) throw protocolFault('content chunks overlap');
  return start === 0 && length === request.length
    ? request.into
    : request.into.subarray(start, start + length);
}

function* statusChunk(
  request: PendingStatus,
  length: number,
  contexts: ReadonlyMap<number, string>,
): Incoming<void> {
  const descriptors = (length - 4) / 8;
  if (!Number.isInteger(descriptors) || descriptors < 1 || descriptors > maxDescriptors) {
    throw protocolFault(`block status chunk of ${length} bytes`);
  }
  const payload = Buffer.allocUnsafe(length);
  yield payload;
  const contextId = payload.readUInt32BE(0);
  if (!contexts.has(contextId)) throw protocolFault('block status of a context that was not agreed');
  if (contextId !== request.contextId) return;
  if (request.descriptors !== null) throw protocolFault('two block status chunks of one context');
  for (let at = 4; at < length; at += 8) {
    if (payload.readUInt32BE(at) === 0) throw protocolFault('extent of no length');
  }
  request.descriptors = payload.subarray(4);
}

function* errorChunk(request: PendingRequest, type: number, length: number): Incoming<void> {
  if (length < 6 || length > maxErrorBytes) throw protocolFault(`error chunk of ${length} bytes`);
  const payload = Buffer.alloc(length);
  yield payload;
  const errno = payload.readUInt32BE(0);
  const textEnd = 6 + payload.readUInt16BE(4);
  const withOffset = type === chunkError.offset;
  if (textEnd + (withOffset ? 8 : 0) > length) throw protocolFault('message longer than its error chunk');
  if (errno === 0) throw protocolFault('error chunk without an error');
  const offset = withOffset ? checkedErrorOffset(request, readOffset(payload, textEnd)) : request.offset;
  request.fault ??= ioFault(request.what, errno, offset, payload.toString('utf8', 6, textEnd));
}

function checkedErrorOffset(request: PendingRequest, offset: number | null): number {
  if (offset === null || offset < request.offset || offset >= request.offset + request.length) {
    throw protocolFault('error offset outside its request');
  }
  return offset;
}
