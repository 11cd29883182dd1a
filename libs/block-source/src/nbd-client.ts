import { Fault } from '@casvault/contracts';
import { type DiskReader, type DiskWriter, type Extent, type ExtentOptions } from './disk.js';
import { extentsOf } from './extents.js';
import { type NbdEndpoint } from './nbd-endpoint.js';
import { requestFault } from './nbd-faults.js';
import { listExports, openExport, type Terms } from './nbd-handshake.js';
import { converse, type NbdLink } from './nbd-link.js';
import {
  pendingRead,
  type PendingRequest,
  type PendingStatus,
  type PendingTable,
  receiveReplies,
} from './nbd-replies.js';
import {
  command,
  type Command,
  commandFlag,
  encodeOption,
  encodeRequest,
  option,
  transmissionFlag,
} from './nbd-wire.js';

export interface NbdConnectOptions {
  /** Metadata contexts to ask for, e.g. `base:allocation`; `contexts` of the client tells which were granted. */
  readonly contexts?: readonly string[];
  /** Aborting it drops the connection, during connecting or later, and rejects what is outstanding with its reason. */
  readonly signal?: AbortSignal;
}

type Settle = (fault: Fault | null) => void;

/** Zeroing has no payload, but one endless request would hold up a stop and the server's other work. */
const maxZeroBytes = 256 * 1024 * 1024;
/**
 * Longer reads are split: QEMU allocates the whole of a request, and beyond this its allocator gives the memory back to the system
 * each time, which doubles the server's CPU. That of a running VM cannot be told otherwise.
 */
const maxReadBytes = 512 * 1024;
/** Longer writes are split. They go to servers of our own, which keep their memory: half as many requests cost a quarter less CPU. */
const maxWriteBytes = 1024 * 1024;
/** Parts of one split request under way at once. */
const maxParts = 16;

/**
 * One NBD connection: fixed newstyle, structured replies and block status where the server has them, TLS.
 *
 * Requests are pipelined: send as many as memory allows; 4 of 1 MiB keep a local server busy. Nothing is buffered here:
 * memory is bounded by the callers' own buffers plus one block status reply (8 MiB at most).
 *
 * Faults: NBD_IO, one request failed, others go on; NBD_PROTOCOL and NBD_DISCONNECTED end the connection and reject every
 * outstanding and later request, each once; INPUT_INVALID, a request outside of the disk or of what was agreed: nothing was sent.
 */
export class NbdClient implements DiskReader, DiskWriter {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly canWriteZeroes: boolean;
  readonly canTrim: boolean;
  /** Several connections may be used at once: a flush on one covers the settled writes of all. */
  readonly canMultiConn: boolean;
  /** Offsets and lengths must be multiples of it, but for the end of a disk that is none. */
  readonly minBlockBytes: number;
  /** What the server takes in one request. */
  readonly maxBlockBytes: number;
  readonly contexts: ReadonlySet<string>;

  readonly #readBytes: number;
  readonly #writeBytes: number;
  readonly #canFlush: boolean;
  readonly #contextIds: ReadonlyMap<string, number>;
  readonly #link: NbdLink;
  readonly #pending: PendingTable;
  #cookie = 0;
  #ended: Fault | null = null;

  private constructor(link: NbdLink, terms: Terms, pending: PendingTable) {
    const has = (flag: number): boolean => (terms.flags & flag) !== 0;
    this.sizeBytes = terms.sizeBytes;
    this.readOnly = has(transmissionFlag.readOnly);
    this.canWriteZeroes = has(transmissionFlag.writeZeroes);
    this.canTrim = has(transmissionFlag.trim);
    this.canMultiConn = has(transmissionFlag.multiConn);
    this.minBlockBytes = terms.minBlockBytes;
    this.maxBlockBytes = terms.maxBlockBytes;
    this.#readBytes = Math.min(terms.maxBlockBytes, maxReadBytes);
    this.#writeBytes = Math.min(terms.maxBlockBytes, maxWriteBytes);
    this.#canFlush = has(transmissionFlag.flush);
    this.#contextIds = new Map([...terms.contexts].map(([id, name]) => [name, id]));
    this.contexts = new Set(this.#contextIds.keys());
    this.#link = link;
    this.#pending = pending;
  }

  /**
   * Connects and enters the export. Faults: NBD_DISCONNECTED (not reachable), NBD_REFUSED (no such export, TLS),
   * NBD_PROTOCOL, or what the signal says.
   */
  static connect(endpoint: NbdEndpoint, options: NbdConnectOptions = {}): Promise<NbdClient> {
    return converse<NbdClient>(endpoint, options.signal, function* (link, greeting, ready) {
      const terms = yield* openExport(link, endpoint.exportName, options.contexts ?? [], greeting);
      const pending: PendingTable = new Map();
      const client = new NbdClient(link, terms, pending);
      ready(client, (fault) => {
        client.#end(fault);
      });
      return yield* receiveReplies(pending, terms, () => void client.close());
    });
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    this.#check('read', offset, into.length);
    await this.#split(into.length, this.#readBytes, (start, length, settle) => {
      const part = length === into.length ? into : into.subarray(start, start + length);
      this.#request(command.read, 0, pendingRead(offset + start, part, settle));
    });
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    this.#checkWrite('write', offset, from.length);
    await this.#split(from.length, this.#writeBytes, (start, length, settle) => {
      const part = from.subarray(start, start + length);
      this.#request(command.write, 0, plain('write', offset + start, length, settle), part);
    });
  }

  async writeZeroes(
    offset: number,
    length: number,
    options: { readonly noHole?: boolean } = {},
  ): Promise<void> {
    this.#checkWrite('write zeroes', offset, length);
    if (!this.canWriteZeroes) throw requestFault('the server has no write zeroes');
    const flags = options.noHole === true ? commandFlag.noHole : 0;
    await this.#split(length, maxZeroBytes, (start, size, settle) => {
      this.#request(command.writeZeroes, flags, plain('write zeroes', offset + start, size, settle));
    });
  }

  /** Without a flush command the server has no volatile cache, and there is nothing to do. */
  async flush(): Promise<void> {
    if (!this.#canFlush) return;
    await this.#split(1, 1, (_start, _length, settle) => {
      this.#request(command.flush, 0, plain('flush', 0, 0, settle));
    });
  }

  extents(context: string, options: ExtentOptions = {}): AsyncIterable<Extent> {
    const contextId = this.#contextIds.get(context);
    if (contextId === undefined) throw requestFault(`metadata context "${context}" was not granted`);
    const start = options.offset ?? 0;
    const length = options.length ?? this.sizeBytes - start;
    this.#check('block status', start, length);
    const query = (offset: number, size: number): Promise<Buffer> => this.#status(contextId, offset, size);
    return extentsOf(query, start, start + length, options.signal);
  }

  /** Says goodbye (NBD_CMD_DISC) and waits up to a second for the server to hang up. What is outstanding then is rejected. */
  async close(): Promise<void> {
    this.#ended ??= closedHere();
    const goodbye = { command: command.disconnect, flags: 0, cookie: 0, offset: 0, length: 0 };
    await this.#link.finish(encodeRequest(goodbye));
  }

  /** Drops the connection at once; what is outstanding is rejected with `fault`, NBD_DISCONNECTED by default. */
  destroy(fault: Fault = closedHere()): void {
    this.#link.end(fault);
  }

  #status(contextId: number, offset: number, length: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const request: PendingStatus = {
        kind: 'status',
        what: 'block status',
        offset,
        length,
        contextId,
        descriptors: null,
        fault: null,
        settle: (fault) => {
          if (fault === null && request.descriptors !== null) resolve(request.descriptors);
          else reject(fault ?? new Fault('BUG', 'block status settled without descriptors'));
        },
      };
      this.#request(command.blockStatus, 0, request);
    });
  }

  /**
   * Sends a range in parts, at most `maxParts` of them under way, and none any more after one has failed. When the promise is
   * settled, no part is under way.
   */
  async #split(
    length: number,
    partBytes: number,
    send: (start: number, length: number, settle: Settle) => void,
  ): Promise<void> {
    let next = 0;
    let open = 0;
    let failed: Fault | null = null;
    await new Promise<void>((resolve, reject) => {
      const proceed = (): void => {
        while (failed === null && next < length && open < maxParts) {
          const start = next;
          next += partBytes;
          open += 1;
          send(start, Math.min(partBytes, length - start), (fault) => {
            failed ??= fault;
            open -= 1;
            proceed();
          });
        }
        if (open > 0) return;
        if (failed === null) resolve();
        else reject(failed);
      };
      proceed();
    });
  }

  #request(kind: Command, flags: number, request: PendingRequest, payload?: Uint8Array): void {
    if (this.#ended !== null) {
      request.settle(this.#ended);
      return;
    }
    this.#cookie = (this.#cookie + 1) >>> 0;
    const { offset, length } = request;
    this.#pending.set(this.#cookie, request);
    this.#link.send(encodeRequest({ command: kind, flags, cookie: this.#cookie, offset, length }), payload);
  }

  #end(fault: Fault): void {
    this.#ended ??= fault;
    const outstanding = [...this.#pending.values()];
    this.#pending.clear();
    for (const request of outstanding) request.settle(fault);
  }

  #checkWrite(what: string, offset: number, length: number): void {
    if (this.readOnly) throw requestFault(`${what} to a read-only export`);
    this.#check(what, offset, length);
  }

  #check(what: string, offset: number, length: number): void {
    const end = offset + length;
    if (
      !Number.isSafeInteger(offset) ||
      !Number.isSafeInteger(length) ||
      offset < 0 ||
      length < 0 ||
      end > this.sizeBytes
    ) {
      throw requestFault(
        `${what} of ${length} bytes at ${offset} is outside of the disk's ${this.sizeBytes} bytes`,
      );
    }
    const aligned =
      offset % this.minBlockBytes === 0 && (end % this.minBlockBytes === 0 || end === this.sizeBytes);
    if (!aligned) {
      throw requestFault(
        `${what} of ${length} bytes at ${offset} is not aligned to ${this.minBlockBytes} bytes`,
      );
    }
  }
}

/** Names of the exports that a server tells of. The endpoint's own export name is not used. */
export const listNbdExports = async (endpoint: NbdEndpoint, signal?: AbortSignal): Promise<string[]> => {
  const { names, link } = await converse<{ names: string[]; link: NbdLink }>(
    endpoint,
    signal,
    function* (link, _greeting, ready) {
      ready({ names: yield* listExports(link), link });
    },
  );
  await link.finish(encodeOption(option.abort));
  return names;
};

const closedHere = (): Fault => new Fault('NBD_DISCONNECTED', 'the NBD connection was closed here');

const plain = (what: string, offset: number, length: number, settle: Settle): PendingRequest => ({
  kind: 'plain',
  what,
  offset,
  length,
  fault: null,
  settle,
});
