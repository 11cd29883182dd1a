import { Fault } from '@casvault/contracts';
import { type Incoming } from './inlet.js';
import { protocolFault } from './nbd-faults.js';
import {
  defaultMaxBlockBytes,
  encodeOption,
  encodeString,
  encodeUInt16,
  encodeUInt32,
  greetingMagic,
  handshakeFlag,
  info,
  largestMinBlockBytes,
  maxStringBytes,
  option,
  optionError,
  optionErrorBit,
  optionMagic,
  optionReply,
  optionReplyMagic,
  readOffset,
} from './nbd-wire.js';

/** What the handshake needs of a connection. */
export interface Sender {
  send(bytes: Uint8Array): void;
}

/** What the server's greeting said: whether it leaves out the zeroes after NBD_OPT_EXPORT_NAME. */
export interface Greeting {
  readonly noZeroes: boolean;
}

/** What client and server agreed on before transmission. */
export interface Terms {
  readonly sizeBytes: number;
  /** Transmission flags. */
  readonly flags: number;
  readonly structured: boolean;
  readonly minBlockBytes: number;
  readonly maxBlockBytes: number;
  /** Granted metadata contexts by the id that replies carry. */
  readonly contexts: ReadonlyMap<number, string>;
}

interface OptionReply {
  readonly type: number;
  readonly data: Buffer;
}

/** A name, its description and their lengths: nothing longer is asked for in a handshake. */
const maxOptionReplyBytes = 4 * maxStringBytes;
/** Bounds what a server can make a client keep: exports of a list, contexts, infos. */
const maxOptionReplies = 4096;

const errorNames: Readonly<Record<number, string>> = {
  [optionError.unsupported]: 'option not supported',
  [optionError.policy]: 'forbidden by policy',
  [optionError.invalid]: 'option invalid',
  [optionError.platform]: 'not supported on its platform',
  [optionError.tlsRequired]: 'TLS required',
  [optionError.unknown]: 'no such export',
  [optionError.shutdown]: 'shutting down',
  [optionError.blockSizeRequired]: 'block sizes must be negotiated',
  [optionError.tooBig]: 'request too big',
};

const refusal = (what: string, reply: OptionReply): Fault => {
  const reason = errorNames[reply.type] ?? `error ${reply.type.toString(16)}`;
  const said = reply.data.length === 0 ? '' : ` (${reply.data.toString('utf8')})`;
  return new Fault('NBD_REFUSED', `NBD server refused ${what}: ${reason}${said}`, {
    details: { reason },
  });
};

/** Reads the greeting and answers it. */
export function* greet(to: Sender): Incoming<Greeting> {
  const greeting = Buffer.alloc(18);
  yield greeting.subarray(0, 16);
  if (greeting.readBigUInt64BE(0) !== greetingMagic) throw protocolFault('the peer is no NBD server');
  if (greeting.readBigUInt64BE(8) !== optionMagic)
    throw protocolFault('the server speaks the old style only');
  yield greeting.subarray(16);
  const flags = greeting.readUInt16BE(16);
  if ((flags & handshakeFlag.fixedNewstyle) === 0) throw protocolFault('the server lacks fixed newstyle');
  const agreed = flags & (handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes);
  to.send(encodeUInt32(agreed));
  return { noZeroes: (agreed & handshakeFlag.noZeroes) !== 0 };
}

/** Asks for TLS. After it returns, the very next byte must belong to the TLS handshake. */
export function* startTls(to: Sender): Incoming<void> {
  const { last } = yield* negotiate(to, option.startTls);
  if (last.type !== optionReply.ack) throw refusal('TLS', last);
}

/** Selects the export with everything that it grants of what is asked, and enters transmission. */
export function* openExport(
  to: Sender,
  exportName: string,
  contexts: readonly string[],
  greeting: Greeting,
): Incoming<Terms> {
  const { last } = yield* negotiate(to, option.structuredReply);
  const structured = last.type === optionReply.ack;
  if (!structured) expectUnsupported('structured replies', last);
  const granted =
    structured && contexts.length > 0
      ? yield* selectContexts(to, exportName, contexts)
      : new Map<number, string>();
  const base = { structured, contexts: granted };
  const described = yield* go(to, exportName);
  return { ...base, ...(described ?? (yield* enterByName(to, exportName, greeting))) };
}

/** Names of all exports that the server tells of. */
export function* listExports(to: Sender): Incoming<string[]> {
  const { replies, last } = yield* negotiate(to, option.list);
  if (last.type !== optionReply.ack) throw refusal('the list of exports', last);
  return replies.map(({ type, data }) => {
    if (type !== optionReply.server || data.length < 4) throw protocolFault('malformed export in the list');
    const end = 4 + data.readUInt32BE(0);
    if (end > data.length) throw protocolFault('name of an export longer than its reply');
    return data.toString('utf8', 4, end);
  });
}

function expectUnsupported(what: string, reply: OptionReply): void {
  if (reply.type !== optionError.unsupported) throw refusal(what, reply);
}

function* selectContexts(
  to: Sender,
  exportName: string,
  contexts: readonly string[],
): Incoming<Map<number, string>> {
  const queries = [encodeString(exportName), encodeUInt32(contexts.length), ...contexts.map(encodeString)];
  const { replies, last } = yield* negotiate(to, option.setMetaContext, Buffer.concat(queries));
  const granted = new Map<number, string>();
  if (last.type !== optionReply.ack) {
    if (last.type === optionError.unknown) throw refusal(`export "${exportName}"`, last);
    expectUnsupported('metadata contexts', last);
    return granted;
  }
  for (const { type, data } of replies) {
    if (type !== optionReply.metaContext || data.length < 5)
      throw protocolFault('malformed metadata context');
    const id = data.readUInt32BE(0);
    if (granted.has(id)) throw protocolFault('two metadata contexts with one id');
    granted.set(id, data.toString('utf8', 4));
  }
  return granted;
}

type ExportTerms = Pick<Terms, 'sizeBytes' | 'flags' | 'minBlockBytes' | 'maxBlockBytes'>;

/** NBD_OPT_GO; null where the server is too old to know it. */
function* go(to: Sender, exportName: string): Incoming<ExportTerms | null> {
  const wanted = Buffer.concat([encodeString(exportName), encodeUInt16(1), encodeUInt16(info.blockSize)]);
  const { replies, last } = yield* negotiate(to, option.go, wanted);
  if (last.type === optionError.unsupported) return null;
  if (last.type !== optionReply.ack) throw refusal(`export "${exportName}"`, last);
  let described: { sizeBytes: number; flags: number } | null = null;
  let blocks = { minBlockBytes: 1, maxBlockBytes: defaultMaxBlockBytes };
  for (const { type, data } of replies) {
    if (type !== optionReply.info || data.length < 2) throw protocolFault('malformed export information');
    const kind = data.readUInt16BE(0);
    if (kind === info.export) described = parseExport(data.subarray(2));
    else if (kind === info.blockSize) blocks = parseBlockSizes(data.subarray(2));
  }
  if (described === null) throw protocolFault('the server accepted an export without its size');
  return { ...described, ...blocks };
}

/** NBD_OPT_EXPORT_NAME, for servers older than NBD_OPT_GO: no refusal is possible but hanging up. */
function* enterByName(to: Sender, exportName: string, greeting: Greeting): Incoming<ExportTerms> {
  to.send(encodeOption(option.exportName, Buffer.from(exportName, 'utf8')));
  const reply = Buffer.alloc(greeting.noZeroes ? 10 : 134);
  yield reply;
  return { ...parseExport(reply.subarray(0, 10)), minBlockBytes: 1, maxBlockBytes: defaultMaxBlockBytes };
}

function parseExport(data: Buffer): { sizeBytes: number; flags: number } {
  if (data.length !== 10) throw protocolFault(`export information of ${data.length} bytes instead of 10`);
  const sizeBytes = readOffset(data, 0);
  if (sizeBytes === null) throw protocolFault('export larger than 2^53 - 1 bytes');
  const flags = data.readUInt16BE(8);
  if ((flags & 1) === 0) throw protocolFault('transmission flags without NBD_FLAG_HAS_FLAGS');
  return { sizeBytes, flags };
}

function parseBlockSizes(data: Buffer): { minBlockBytes: number; maxBlockBytes: number } {
  if (data.length !== 12) throw protocolFault(`block sizes of ${data.length} bytes instead of 12`);
  const minBlockBytes = data.readUInt32BE(0);
  const advertisedMax = data.readUInt32BE(8);
  const powerOfTwo = minBlockBytes > 0 && (minBlockBytes & (minBlockBytes - 1)) === 0;
  if (!powerOfTwo || minBlockBytes > largestMinBlockBytes) {
    throw protocolFault(
      `minimum block size ${minBlockBytes} is no power of two up to ${largestMinBlockBytes}`,
    );
  }
  const bounded = Math.min(advertisedMax, defaultMaxBlockBytes);
  const maxBlockBytes = bounded - (bounded % minBlockBytes);
  if (maxBlockBytes === 0) throw protocolFault(`maximum payload ${advertisedMax} is below the minimum block`);
  return { minBlockBytes, maxBlockBytes };
}

/** Sends one option and gathers its replies up to the final one (an acknowledgement or an error). */
function* negotiate(
  to: Sender,
  code: number,
  data?: Uint8Array,
): Incoming<{ replies: OptionReply[]; last: OptionReply }> {
  to.send(encodeOption(code, data));
  const replies: OptionReply[] = [];
  for (;;) {
    const reply = yield* receiveOptionReply(code);
    if (reply.type === optionReply.ack || reply.type >= optionErrorBit) return { replies, last: reply };
    if (replies.length === maxOptionReplies) throw protocolFault('endless replies to one option');
    replies.push(reply);
  }
}

function* receiveOptionReply(code: number): Incoming<OptionReply> {
  const head = Buffer.alloc(20);
  yield head;
  if (head.readBigUInt64BE(0) !== optionReplyMagic) throw protocolFault('wrong magic of an option reply');
  if (head.readUInt32BE(8) !== code) throw protocolFault('reply to another option than the one sent');
  const length = head.readUInt32BE(16);
  if (length > maxOptionReplyBytes) throw protocolFault(`option reply of ${length} bytes`);
  const data = Buffer.alloc(length);
  yield data;
  return { type: head.readUInt32BE(12), data };
}
