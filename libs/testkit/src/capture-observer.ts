import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  openingSchema,
  openRequestSchema,
  type DiskExport,
  type Opening,
  type OpenRequest,
} from '@casvault/contracts';

/**
 * An independent witness of what a capture holds. It stands in front of a disk service as a plain HTTP forwarder: when an
 * opening of kind `capture` passes, it copies every export with qemu-img, a second client that shares no code with the
 * product, to a raw file; it lets the closing of that opening pass only when the copies are whole. So a restored disk
 * can be compared with the captured instant itself, while the VM writes on.
 *
 * Memory: one control message (<= 1 MiB) a request; the disks pass through qemu-img alone.
 */
export interface CaptureObserver {
  readonly port: number;
  /** Copies of one capture, in the order of its disks; resolves when they are whole, rejects when none was seen. */
  reference(openingId: string): Promise<CaptureReference>;
  /** Every capture that passed, oldest first. */
  captures(): readonly string[];
  stop(): Promise<void>;
}
export interface CaptureReference {
  readonly opening: Opening;
  /** Raw files, by the disk's target. */
  readonly files: ReadonlyMap<string, string>;
}
/** Where an export of an opening that was asked for is to be reached from now on; the same for the same export. */
export type WayToExport = (request: OpenRequest, disk: ExportPlace) => Promise<ExportPlace>;
export type ExportPlace = Pick<DiskExport, 'host' | 'port'>;

const run = promisify(execFile);
const maxMessageBytes = 1 << 20;

const collect = async (stream: IncomingMessage): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxMessageBytes) throw new Error(`control message over ${maxMessageBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
};

const copyExport = async (disk: DiskExport, file: string): Promise<void> => {
  const source = `driver=nbd,server.type=inet,server.host=${disk.host},server.port=${disk.port},export=${disk.exportName}`;
  await run('qemu-img', ['convert', '--image-opts', '-O', 'raw', source, file]);
};

const copyCapture = async (opening: Opening, directory: string): Promise<CaptureReference> => {
  await mkdir(directory, { recursive: true });
  const files = new Map<string, string>();
  for (const disk of opening.disks) {
    const file = join(directory, `${opening.openingId}-${disk.target}.raw`);
    await copyExport(disk, file);
    files.set(disk.target, file);
  }
  return { opening, files };
};

/** The answer to whoever opens, with other ways to its exports. */
const led = async (wayTo: WayToExport, asked: Buffer, answer: Buffer): Promise<Buffer> => {
  const request = openRequestSchema.parse(JSON.parse(asked.toString()));
  const { disks, ...opening } = openingSchema.parse(JSON.parse(answer.toString()));
  const elsewhere: DiskExport[] = [];
  for (const disk of disks) elsewhere.push({ ...disk, ...(await wayTo(request, disk)) });
  return Buffer.from(JSON.stringify({ ...opening, disks: elsewhere }));
};

/**
 * Starts an observer on `address`:`port` (0: any) before the disk service at `address`:`upstreamPort`. Its own copies go
 * straight to the exports, also where `wayTo` leads others elsewhere.
 */
export const startCaptureObserver = async (options: {
  address: string;
  port: number;
  upstreamPort: number;
  directory: string;
  wayTo?: WayToExport;
}): Promise<CaptureObserver> => {
  const references = new Map<string, Promise<CaptureReference>>();
  const openingPath = /^\/v1\/openings\/([0-9a-f-]{36})(\?.*)?$/;

  const forward = (
    message: IncomingMessage,
    body: Buffer,
  ): Promise<{ response: IncomingMessage; body: Buffer }> =>
    new Promise((resolve, reject) => {
      const upstream = request(
        {
          host: options.address,
          port: options.upstreamPort,
          method: message.method,
          path: message.url,
          headers: message.headers,
        },
        (response) => void collect(response).then((answer) => resolve({ response, body: answer }), reject),
      );
      upstream.on('error', reject);
      upstream.end(body);
    });

  const observe = (id: string, answer: Buffer): void => {
    if (references.has(id)) return;
    const opening = openingSchema.parse(JSON.parse(answer.toString()));
    if (opening.kind !== 'capture') return;
    const copy = copyCapture(opening, options.directory);
    copy.catch(() => undefined); // the failure is told by `reference`
    references.set(id, copy);
  };

  const serve = async (message: IncomingMessage, reply: ServerResponse): Promise<void> => {
    const id = openingPath.exec(message.url ?? '')?.[1];
    const body = await collect(message);
    if (id !== undefined && message.method === 'DELETE') await references.get(id)?.catch(() => undefined);
    const { response, body: answer } = await forward(message, body);
    const { statusCode = 502, headers } = response;
    const isOpen = id !== undefined && message.method === 'PUT' && statusCode < 300;
    if (isOpen && statusCode === 201) observe(id, answer);
    if (isOpen && options.wayTo) {
      const told = await led(options.wayTo, body, answer);
      reply.writeHead(statusCode, { ...headers, 'content-length': told.length }).end(told);
    } else reply.writeHead(statusCode, headers).end(answer);
  };

  const server = createServer((message, reply) => {
    serve(message, reply).catch(() => reply.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(options.port, options.address, resolve);
  });
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('observer has no port');

  return {
    port: bound.port,
    captures: () => [...references.keys()],
    reference: (id) => references.get(id) ?? Promise.reject(new Error(`no capture ${id} was seen`)),
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  };
};
