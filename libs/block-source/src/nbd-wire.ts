/** Numbers of the NBD protocol document (doc/proto.md of the NetworkBlockDevice project) and its fixed-size messages. */

export const greetingMagic = 0x4e42444d41474943n;
export const optionMagic = 0x49484156454f5054n;
export const optionReplyMagic = 0x0003e889045565a9n;
export const requestMagic = 0x25609513;
export const simpleReplyMagic = 0x67446698;
export const structuredReplyMagic = 0x668e33ef;

export const handshakeFlag = { fixedNewstyle: 1, noZeroes: 2 } as const;

export const option = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  go: 7,
  structuredReply: 8,
  setMetaContext: 10,
} as const;

export const optionReply = { ack: 1, server: 2, info: 3, metaContext: 4 } as const;

export const optionErrorBit = 0x80000000;
export const optionError = {
  unsupported: 0x80000001,
  policy: 0x80000002,
  invalid: 0x80000003,
  platform: 0x80000004,
  tlsRequired: 0x80000005,
  unknown: 0x80000006,
  shutdown: 0x80000007,
  blockSizeRequired: 0x80000008,
  tooBig: 0x80000009,
} as const;

export const info = { export: 0, blockSize: 3 } as const;

export const transmissionFlag = {
  readOnly: 1 << 1,
  flush: 1 << 2,
  trim: 1 << 5,
  writeZeroes: 1 << 6,
  multiConn: 1 << 8,
} as const;

export const command = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  writeZeroes: 6,
  blockStatus: 7,
} as const;
export type Command = (typeof command)[keyof typeof command];
export const commandFlag = { noHole: 1 << 1 } as const;

export const chunk = { none: 0, offsetData: 1, offsetHole: 2, blockStatus: 5 } as const;
export const chunkErrorBit = 0x8000;
export const chunkError = { plain: 0x8001, offset: 0x8002 } as const;
export const chunkFlagDone = 1;

/** What a peer may rely on where no block sizes were exchanged. */
export const defaultMaxBlockBytes = 32 * 1024 * 1024;
export const largestMinBlockBytes = 65536;
/** Longest string of the protocol. */
export const maxStringBytes = 4096;
/** Most descriptors that a server should put into one block status chunk. */
export const maxDescriptors = 1 << 20;

const errnoNames: Readonly<Record<number, string>> = {
  1: 'EPERM',
  5: 'EIO',
  12: 'ENOMEM',
  22: 'EINVAL',
  28: 'ENOSPC',
  75: 'EOVERFLOW',
  95: 'ENOTSUP',
  108: 'ESHUTDOWN',
};
/** A value outside the document's list counts as EINVAL there; its number is kept here for the reader. */
export const errnoName = (errno: number): string => errnoNames[errno] ?? `EINVAL (${errno})`;
export const shutdownErrno = 'ESHUTDOWN';

export interface RequestHeader {
  readonly command: Command;
  readonly flags: number;
  readonly cookie: number;
  readonly offset: number;
  readonly length: number;
}

export const encodeRequest = (request: RequestHeader): Buffer => {
  const bytes = Buffer.allocUnsafe(28);
  bytes.writeUInt32BE(requestMagic, 0);
  bytes.writeUInt16BE(request.flags, 4);
  bytes.writeUInt16BE(request.command, 6);
  bytes.writeUInt32BE(0, 8);
  bytes.writeUInt32BE(request.cookie, 12);
  bytes.writeBigUInt64BE(BigInt(request.offset), 16);
  bytes.writeUInt32BE(request.length, 24);
  return bytes;
};

export const encodeOption = (code: number, data: Uint8Array = new Uint8Array(0)): Buffer => {
  const head = Buffer.allocUnsafe(16);
  head.writeBigUInt64BE(optionMagic, 0);
  head.writeUInt32BE(code, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
};

export const encodeUInt32 = (value: number): Buffer => {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

export const encodeUInt16 = (value: number): Buffer => {
  const bytes = Buffer.allocUnsafe(2);
  bytes.writeUInt16BE(value);
  return bytes;
};

/** A string as options carry it: 32-bit length, then UTF-8. */
export const encodeString = (text: string): Buffer => {
  const bytes = Buffer.from(text, 'utf8');
  return Buffer.concat([encodeUInt32(bytes.length), bytes]);
};

/** A 64-bit offset or size as a number; null beyond 2^53 - 1, which no disk of ours reaches. */
export const readOffset = (bytes: Buffer, at: number): number | null => {
  const value = bytes.readUInt32BE(at) * 0x100000000 + bytes.readUInt32BE(at + 4);
  return Number.isSafeInteger(value) ? value : null;
};
