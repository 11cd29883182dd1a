import {
  chunk,
  chunkError,
  chunkFlagDone,
  encodeUInt16,
  encodeUInt32,
  greetingMagic,
  handshakeFlag,
  info,
  optionMagic,
  optionReply,
  optionReplyMagic,
  simpleReplyMagic,
  structuredReplyMagic,
} from '../nbd-wire.js';

/** What an NBD server says, byte by byte: good messages, to be sent as they are or to be spoilt by a test. */

const uint64 = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};

export const greetingBytes = (flags: number = handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes): Buffer =>
  Buffer.concat([uint64(greetingMagic), uint64(optionMagic), encodeUInt16(flags)]);

export const optionReplyBytes = (code: number, type: number, data: Uint8Array = Buffer.alloc(0)): Buffer =>
  Buffer.concat([
    uint64(optionReplyMagic),
    encodeUInt32(code),
    encodeUInt32(type),
    encodeUInt32(data.length),
    data,
  ]);

export const ackBytes = (code: number): Buffer => optionReplyBytes(code, optionReply.ack);

/** Size and transmission flags, as both ways into an export give them. */
export const exportBytes = (sizeBytes: number | bigint, flags: number): Buffer =>
  Buffer.concat([uint64(sizeBytes), encodeUInt16(flags)]);

export const exportInfoBytes = (sizeBytes: number | bigint, flags: number): Buffer =>
  Buffer.concat([encodeUInt16(info.export), exportBytes(sizeBytes, flags)]);

export const blockSizeInfoBytes = (min: number, preferred: number, max: number): Buffer =>
  Buffer.concat([
    encodeUInt16(info.blockSize),
    encodeUInt32(min),
    encodeUInt32(preferred),
    encodeUInt32(max),
  ]);

export const simpleReplyBytes = (cookie: number, errno = 0, data: Uint8Array = Buffer.alloc(0)): Buffer =>
  Buffer.concat([encodeUInt32(simpleReplyMagic), encodeUInt32(errno), uint64(cookie), data]);

export interface ChunkOptions {
  readonly done?: boolean;
}

export const chunkBytes = (
  cookie: number | bigint,
  type: number,
  payload: Uint8Array,
  { done = false }: ChunkOptions = {},
): Buffer =>
  Buffer.concat([
    encodeUInt32(structuredReplyMagic),
    encodeUInt16(done ? chunkFlagDone : 0),
    encodeUInt16(type),
    uint64(cookie),
    encodeUInt32(payload.length),
    payload,
  ]);

export const dataBytes = (cookie: number, offset: number, data: Uint8Array, options?: ChunkOptions): Buffer =>
  chunkBytes(cookie, chunk.offsetData, Buffer.concat([uint64(offset), data]), options);

export const holeBytes = (cookie: number, offset: number, length: number, options?: ChunkOptions): Buffer =>
  chunkBytes(cookie, chunk.offsetHole, Buffer.concat([uint64(offset), encodeUInt32(length)]), options);

export const doneBytes = (cookie: number): Buffer =>
  chunkBytes(cookie, chunk.none, Buffer.alloc(0), { done: true });

/** Descriptors are pairs of length and flags. */
export const statusBytes = (
  cookie: number,
  contextId: number,
  descriptors: readonly (readonly [number, number])[],
  options?: ChunkOptions,
): Buffer =>
  chunkBytes(
    cookie,
    chunk.blockStatus,
    Buffer.concat([encodeUInt32(contextId), ...descriptors.flat().map(encodeUInt32)]),
    options,
  );

export const errorBytes = (cookie: number, errno: number, text = '', options?: ChunkOptions): Buffer =>
  chunkBytes(
    cookie,
    chunkError.plain,
    Buffer.concat([encodeUInt32(errno), encodeUInt16(Buffer.byteLength(text)), Buffer.from(text)]),
    options,
  );

export const errorAtBytes = (
  cookie: number,
  errno: number,
  offset: number,
  text = '',
  options?: ChunkOptions,
): Buffer =>
  chunkBytes(
    cookie,
    chunkError.offset,
    Buffer.concat([
      encodeUInt32(errno),
      encodeUInt16(Buffer.byteLength(text)),
      Buffer.from(text),
      uint64(offset),
    ]),
    options,
  );
