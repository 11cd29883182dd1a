import net, { type AddressInfo, type Socket } from 'node:net';
import { type Incoming, Inlet } from '../inlet.js';
import { type NbdEndpoint } from '../nbd-endpoint.js';
import {
  command,
  type Command,
  encodeUInt32,
  info,
  option,
  optionError,
  optionReply,
  transmissionFlag,
} from '../nbd-wire.js';
import {
  ackBytes,
  blockSizeInfoBytes,
  dataBytes,
  doneBytes,
  errorBytes,
  exportBytes,
  exportInfoBytes,
  greetingBytes,
  holeBytes,
  optionReplyBytes,
  simpleReplyBytes,
  statusBytes,
} from './server-messages.js';

/** A disk in memory, as a test serves it. */
export interface ServedDisk {
  /** Its content; reads and writes go here. */
  readonly bytes: Buffer;
  readonly readOnly?: boolean;
  /** Block status by context: consecutive pairs of length and flags, over the whole disk. */
  readonly contexts?: Readonly<Record<string, readonly (readonly [number, number])[]>>;
  readonly minBlockBytes?: number;
  readonly maxBlockBytes?: number;
}

export interface ServedRequest {
  readonly command: Command;
  readonly flags: number;
  readonly cookie: number;
  readonly offset: number;
  readonly length: number;
}

/** How a test departs from good behaviour. */
export interface ServerScript {
  /** The bytes to answer with instead; `ordinary` makes the good ones. The connection is cut after the `last` ones. */
  readonly reply?: (
    request: ServedRequest,
    ordinary: () => Buffer,
  ) => Buffer | { readonly last: Buffer } | 'silence';
  /** Instead of the good reply to an option; null for the good one. */
  readonly option?: (code: number) => Buffer | 'hang up' | null;
  readonly greeting?: Buffer;
  /** Reads come as several chunks of so many bytes, the last ones first, zeroes as holes. */
  readonly chunkBytes?: number;
  /** At most so many descriptors in one block status reply. */
  readonly maxDescriptors?: number;
}

export interface MemoryNbdServer {
  readonly endpoint: NbdEndpoint;
  /** All requests so far, of all connections. */
  readonly requests: readonly ServedRequest[];
  /** Connections open now. */
  readonly connections: number;
  stop(): Promise<void>;
}

/** A real NBD server on loopback for tests: one export named `disk`, which does everything right unless its script says otherwise. */
export const startMemoryNbdServer = async (
  disk: ServedDisk,
  script: ServerScript = {},
): Promise<MemoryNbdServer> => {
  const requests: ServedRequest[] = [];
  const sockets = new Set<Socket>();
  const server = net.createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    serve(socket, new Session(socket, disk, script, requests).talk());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: { host: '127.0.0.1', port, exportName: 'disk' },
    requests,
    get connections() {
      return sockets.size;
    },
    stop: () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      return closed;
    },
  };
};

const serve = (socket: Socket, talk: Incoming<void>): void => {
  const inlet = new Inlet(talk, () => new Error('the client goes on after its goodbye'));
  socket.on('data', (piece) => {
    try {
      inlet.feed(piece);
      if (inlet.result !== null) socket.end();
    } catch {
      socket.destroy();
    }
  });
};

const hasFlags = 1;
const canDo = transmissionFlag.flush | transmissionFlag.writeZeroes | transmissionFlag.multiConn;

class Session {
  readonly #socket: Socket;
  readonly #disk: ServedDisk;
  readonly #script: ServerScript;
  readonly #requests: ServedRequest[];
  #structured = false;
  readonly #contexts = new Map<number, readonly (readonly [number, number])[]>();

  constructor(socket: Socket, disk: ServedDisk, script: ServerScript, requests: ServedRequest[]) {
    this.#socket = socket;
    this.#disk = disk;
    this.#script = script;
    this.#requests = requests;
  }

  *talk(): Incoming<void> {
    this.#socket.write(this.#script.greeting ?? greetingBytes());
    yield Buffer.alloc(4);
    while (!(yield* this.#option())) continue;
    while (yield* this.#request()) continue;
  }

  /** True when transmission begins. */
  *#option(): Incoming<boolean> {
    const head = Buffer.alloc(16);
    yield head;
    const code = head.readUInt32BE(8);
    const data = Buffer.alloc(head.readUInt32BE(12));
    yield data;
    const scripted = this.#script.option?.(code) ?? null;
    if (scripted === 'hang up') throw new Error('scripted');
    if (scripted !== null) {
      this.#socket.write(scripted);
      return false;
    }
    this.#socket.write(this.#answer(code, data));
    return code === option.exportName || (code === option.go && this.#named(data));
  }

  #answer(code: number, data: Buffer): Buffer {
    if (code === option.structuredReply) {
      this.#structured = true;
      return ackBytes(code);
    }
    if (code === option.setMetaContext) return this.#grant(data);
    if (code === option.list) {
      const name = Buffer.from('disk');
      const listed = Buffer.concat([encodeUInt32(name.length), name]);
      return Buffer.concat([optionReplyBytes(code, optionReply.server, listed), ackBytes(code)]);
    }
    if (code === option.go && !this.#named(data)) return optionReplyBytes(code, optionError.unknown);
    if (code === option.go) return this.#describe();
    if (code === option.exportName) return exportBytes(this.#disk.bytes.length, this.#flags);
    if (code === option.abort) return ackBytes(code);
    return optionReplyBytes(code, optionError.unsupported);
  }

  #named(data: Buffer): boolean {
    return data.toString('utf8', 4, 4 + data.readUInt32BE(0)) === 'disk';
  }

  get #flags(): number {
    return hasFlags | canDo | (this.#disk.readOnly === true ? transmissionFlag.readOnly : 0);
  }

  #describe(): Buffer {
    const { bytes, minBlockBytes = 1, maxBlockBytes = 32 * 1024 * 1024 } = this.#disk;
    const infos = [
      exportInfoBytes(bytes.length, this.#flags),
      Buffer.concat([Buffer.from([0, info.export + 2]), Buffer.from('a description that nobody asked for')]),
      blockSizeInfoBytes(minBlockBytes, Math.max(minBlockBytes, 4096), maxBlockBytes),
    ];
    const replies = infos.map((data) => optionReplyBytes(option.go, optionReply.info, data));
    return Buffer.concat([...replies, ackBytes(option.go)]);
  }

  #grant(data: Buffer): Buffer {
    let at = 4 + data.readUInt32BE(0);
    const count = data.readUInt32BE(at);
    at += 4;
    const replies: Buffer[] = [];
    for (let i = 0; i < count; i += 1) {
      const end = at + 4 + data.readUInt32BE(at);
      const name = data.toString('utf8', at + 4, end);
      at = end;
      const extents = this.#disk.contexts?.[name];
      if (extents === undefined) continue;
      const id = 1000 + i;
      this.#contexts.set(id, extents);
      const named = Buffer.concat([encodeUInt32(id), Buffer.from(name)]);
      replies.push(optionReplyBytes(option.setMetaContext, optionReply.metaContext, named));
    }
    return Buffer.concat([...replies, ackBytes(option.setMetaContext)]);
  }

  /** False after the client's goodbye. */
  *#request(): Incoming<boolean> {
    const head = Buffer.alloc(28);
    yield head;
    const request: ServedRequest = {
      flags: head.readUInt16BE(4),
      command: head.readUInt16BE(6) as Command,
      cookie: head.readUInt32BE(12),
      offset: Number(head.readBigUInt64BE(16)),
      length: head.readUInt32BE(24),
    };
    this.#requests.push(request);
    const { offset, length } = request;
    if (request.command === command.disconnect) return false;
    if (request.command === command.write) yield this.#disk.bytes.subarray(offset, offset + length);
    if (request.command === command.writeZeroes) this.#disk.bytes.fill(0, offset, offset + length);
    const ordinary = (): Buffer => this.#reply(request);
    const reply = this.#script.reply?.(request, ordinary) ?? ordinary();
    if (reply === 'silence') return true;
    if (Buffer.isBuffer(reply)) this.#socket.write(reply);
    else this.#socket.write(reply.last, () => this.#socket.destroy());
    return true;
  }

  #reply(request: ServedRequest): Buffer {
    const { cookie, offset, length } = request;
    const data = this.#disk.bytes.subarray(offset, offset + length);
    if (request.command === command.blockStatus) return this.#status(request);
    if (request.command !== command.read) return simpleReplyBytes(cookie);
    if (!this.#structured) return simpleReplyBytes(cookie, 0, data);
    if (this.#script.chunkBytes === undefined) return dataBytes(cookie, offset, data, { done: true });
    return Buffer.concat([...pieces(request, data, this.#script.chunkBytes), doneBytes(cookie)]);
  }

  #status({ cookie, offset, length }: ServedRequest): Buffer {
    if (this.#contexts.size === 0) return errorBytes(cookie, 22, 'no context', { done: true });
    const chunks = [...this.#contexts].map(([id, extents]) =>
      statusBytes(cookie, id, cutExtents(extents, offset, length).slice(0, this.#script.maxDescriptors)),
    );
    return Buffer.concat([...chunks, doneBytes(cookie)]);
  }
}

const pieces = ({ cookie, offset }: ServedRequest, data: Buffer, size: number): Buffer[] => {
  const chunks: Buffer[] = [];
  for (let at = 0; at < data.length; at += size) {
    const piece = data.subarray(at, at + size);
    const zero = piece.every((byte) => byte === 0);
    chunks.push(zero ? holeBytes(cookie, offset + at, piece.length) : dataBytes(cookie, offset + at, piece));
  }
  return chunks.reverse();
};

/** Descriptors from `offset` on; the last one may go on beyond the range, as the protocol allows. */
const cutExtents = (
  extents: readonly (readonly [number, number])[],
  offset: number,
  length: number,
): (readonly [number, number])[] => {
  const found: (readonly [number, number])[] = [];
  let start = 0;
  for (const [size, flags] of extents) {
    const end = start + size;
    if (end > offset && start < offset + length) found.push([end - Math.max(start, offset), flags]);
    start = end;
  }
  return found;
};
