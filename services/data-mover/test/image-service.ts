import { stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import {
  openRequestSchema,
  type DiskExport,
  type FaultCode,
  type Opening,
  type OpeningId,
  type OpenRequest,
} from '@casvault/contracts';
import { freePort, RunningProcess, until } from '@casvault/testkit';

interface Served {
  readonly opening: Opening;
  readonly servers: readonly RunningProcess[];
}

const host = '127.0.0.1';

/**
 * The control API of a disk service over plain image files, each served by a real qemu-nbd: for tests of who calls it.
 * A capture is the files as they are. `bytesPerSecond` slows the reading of captures; `lose` ends one as a host would.
 */
export class ImageService {
  readonly token = 'token-of-the-image-service';
  bytesPerSecond = 0;
  readonly #open = new Map<string, Served>();
  readonly #lost = new Set<string>();
  /** Every opening that was ever made, in order. */
  readonly made: Opening[] = [];
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<ImageService> {
    const server = createServer();
    const service = new ImageService(server);
    server.on('request', (request, response) => void service.#answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, host, resolve));
    return service;
  }

  get url(): string {
    return `http://${host}:${(this.#server.address() as AddressInfo).port}`;
  }
  get openings(): readonly Opening[] {
    return [...this.#open.values()].map(({ opening }) => opening);
  }
  get captures(): readonly Opening[] {
    return this.made.filter(({ kind }) => kind === 'capture');
  }

  /** As a host that restarts: the exports are gone, and so is the opening. */
  async lose(id: OpeningId): Promise<void> {
    this.#lost.add(id);
    await this.#end(id);
  }

  async stop(): Promise<void> {
    for (const id of [...this.#open.keys()]) await this.#end(id);
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? '/', this.url);
    const id = pathname.split('/')[3] ?? '';
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    if (request.headers.authorization !== `Bearer ${this.token}`)
      return refuse(response, 401, 'UNAUTHENTICATED');
    if (request.method === 'DELETE') {
      this.#lost.delete(id);
      await this.#end(id);
      return void response.writeHead(204).end();
    }
    if (this.#lost.has(id)) return refuse(response, 410, 'CAPTURE_LOST');
    const served = this.#open.get(id);
    if (served) return reply(response, served.opening);
    if (request.method !== 'PUT') return refuse(response, 404, 'NOT_FOUND');
    const asked = openRequestSchema.parse(JSON.parse(Buffer.concat(chunks).toString('utf8')));
    reply(response, (await this.#make(id as OpeningId, asked)).opening);
  }

  async #make(openingId: OpeningId, asked: OpenRequest): Promise<Served> {
    const isCapture = asked.kind === 'capture';
    const disks = isCapture ? asked.disks : [{ target: 'volume', path: asked.path }];
    const exported = [];
    for (const { target, path } of disks) exported.push(await this.#serve(target, path, !isCapture));
    const now = new Date();
    const opening: Opening = {
      openingId,
      kind: asked.kind,
      method: isCapture ? 'live' : 'write',
      openedAt: now.toISOString(),
      leaseUntil: new Date(now.getTime() + asked.leaseSeconds * 1_000).toISOString(),
      checkpoint: null,
      disks: exported.map(({ disk }) => disk),
    };
    const served = { opening, servers: exported.map(({ server }) => server) };
    this.#open.set(openingId, served);
    this.made.push(opening);
    return served;
  }

  async #serve(target: string, path: string, writable: boolean) {
    const port = await freePort();
    const exportName = `of-${target}`;
    const slow = !writable && this.bytesPerSecond > 0;
    const image = slow
      ? [
          ...['--object', `throttle-group,id=slow,x-bps-total=${this.bytesPerSecond}`],
          '--image-opts',
          `driver=throttle,throttle-group=slow,file.driver=raw,file.file.driver=file,file.file.filename=${path}`,
        ]
      : ['-f', 'raw', path];
    const flags = ['-t', '-e', '16', '-b', host, '-p', String(port), '-x', exportName];
    const server = new RunningProcess('qemu-nbd', [
      ...flags,
      ...(writable ? ['--discard=unmap'] : ['-r']),
      ...image,
    ]);
    await until(() => server.running && accepts(port));
    const { size: sizeBytes } = await stat(path);
    const disk: DiskExport = {
      target,
      host,
      port,
      exportName,
      tls: false,
      sizeBytes,
      format: 'raw',
      writable,
      bitmapContext: null,
    };
    return { disk, server };
  }

  async #end(id: string): Promise<void> {
    const served = this.#open.get(id);
    this.#open.delete(id);
    for (const server of served?.servers ?? []) await server.stop(2_000);
  }
}

const accepts = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, host);
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => end(true)).once('error', () => end(false));
  });

const reply = (response: ServerResponse, body: unknown): void => {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
};
const refuse = (response: ServerResponse, status: number, code: FaultCode): void => {
  const problem = { code, detail: `refused: ${code}`, details: {} };
  response.writeHead(status, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem));
};
