import { execFile } from 'node:child_process';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { openRequestSchema, type OpenRequest, type Opening, type OpeningId } from '@casvault/contracts';
import { freePort, RunningProcess, until } from '@casvault/testkit';

const run = promisify(execFile);

interface Held {
  readonly request: OpenRequest;
  readonly opening: Opening;
  readonly servers: { readonly args: readonly string[]; process: RunningProcess }[];
  lost: boolean;
}

/** The disk service's HTTP API over real qemu-nbd processes, which a test slows down, breaks and counts. */
export class PlayedDiskService {
  readonly token = 'disk-service-token-0f3a';
  readonly openings = new Map<string, Held>();
  /** Ids that were closed, in order. */
  readonly closed: string[] = [];
  /** Limit of each disk that is opened from now on; 0: none. */
  bytesPerSecond = 0;
  /** Where a port is reached from now on; as it is by default. */
  through: (port: number) => Promise<number> = async (port) => port;
  #server: Server | null = null;
  #port = 0;

  static async start(): Promise<PlayedDiskService> {
    const service = new PlayedDiskService();
    service.#port = await freePort();
    await service.up();
    return service;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Answers again, and serves again what is open, on the same ports. */
  async up(): Promise<void> {
    for (const { servers, lost } of this.openings.values())
      for (const server of lost ? [] : servers) server.process = await serve(server.args);
    const server = createServer((request, response) => void this.#answer(request, response));
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#port, '127.0.0.1', resolve));
  }

  /** As a host without power: no answer, no disk. */
  async down(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    server?.closeAllConnections();
    await new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()));
    for (const { servers } of this.openings.values())
      for (const { process } of servers) await process.kill9();
  }

  /** The host ends an opening; its id tells of it from now on. */
  async lose(id: string): Promise<void> {
    const held = this.openings.get(id)!;
    held.lost = true;
    for (const { process } of held.servers) await process.kill9();
  }

  async stop(): Promise<void> {
    await this.down();
    this.openings.clear();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const say = (status: number, body: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    try {
      if (request.headers.authorization !== `Bearer ${this.token}`) return say(401, {});
      const [, id = '', renewals] = /^\/v1\/openings\/([^/?]+)(\/renewals)?/.exec(request.url ?? '') ?? [];
      if (request.method === 'PUT') {
        const body: unknown = JSON.parse(await textOf(request));
        return say(200, await this.#open(id as OpeningId, openRequestSchema.parse(body)));
      }
      if (request.method === 'DELETE') {
        await this.#close(id);
        response.writeHead(204).end();
        return;
      }
      const held = this.openings.get(id);
      if (held && !held.lost) return say(200, held.opening);
      const isGone = held !== undefined || renewals !== undefined;
      say(isGone ? 410 : 404, { code: isGone ? 'CAPTURE_LOST' : 'NOT_FOUND', detail: id, details: {} });
    } catch (error) {
      say(409, { code: 'DISK_SERVICE_REFUSED', detail: String(error), details: {} });
    }
  }

  async #open(id: OpeningId, request: OpenRequest): Promise<Opening> {
    const known = this.openings.get(id);
    if (known?.lost) throw new Error('lost');
    if (known) return known.opening;
    const disks = request.kind === 'capture' ? request.disks : [{ target: 'volume', path: request.path }];
    const servers: Held['servers'] = [];
    const exports: Opening['disks'] = [];
    for (const { target, path } of disks) {
      const format = path.endsWith('.raw') ? 'raw' : 'qcow2';
      if (request.kind === 'volume' && request.resize)
        await run('qemu-img', ['resize', '-q', '--shrink', '-f', format, path, String(request.sizeBytes)]);
      const sizeBytes = await virtualSize(path);
      const port = await freePort();
      const args = this.#serverArguments(request.kind, path, format, target, port);
      servers.push({ args, process: await serve(args) });
      exports.push({
        target,
        host: '127.0.0.1',
        port: await this.through(port),
        exportName: target,
        tls: false,
        sizeBytes,
        format,
        writable: request.kind === 'volume',
        bitmapContext: null,
        bitmapReason: null,
        bitmapMadeBy: null,
        checkpointed: false,
        generation: '',
      });
    }
    const openedAt = new Date().toISOString();
    const isCapture = request.kind === 'capture';
    const opening: Opening = {
      openingId: id,
      kind: request.kind,
      method: isCapture ? 'offline' : 'write',
      consistency: 'crash',
      reasons: [],
      openedAt,
      leaseUntil: new Date(Date.now() + request.leaseSeconds * 1_000).toISOString(),
      checkpoint: null,
      disks: exports,
    };
    this.openings.set(id, { request, opening, servers, lost: false });
    return opening;
  }

  #serverArguments(
    kind: OpenRequest['kind'],
    path: string,
    format: string,
    target: string,
    port: number,
  ): string[] {
    const mode = kind === 'volume' ? ['--discard=unmap'] : ['-r'];
    const common = ['-t', '-e', '16', '-b', '127.0.0.1', '-p', String(port), '-x', target, ...mode];
    if (this.bytesPerSecond === 0) return [...common, '-f', format, path];
    const limit = `x-bps-total=${this.bytesPerSecond},x-bps-total-max=${this.bytesPerSecond}`;
    const image = `file.driver=${format},file.file.driver=file,file.file.filename=${path}`;
    return [
      '--object',
      `throttle-group,id=limit,${limit}`,
      ...common,
      '--image-opts',
      `driver=throttle,throttle-group=limit,${image}`,
    ];
  }

  async #close(id: string): Promise<void> {
    const held = this.openings.get(id);
    this.openings.delete(id);
    this.closed.push(id);
    for (const { process } of held?.servers ?? []) await process.stop();
  }
}

const serve = async (args: readonly string[]): Promise<RunningProcess> => {
  const process = new RunningProcess('qemu-nbd', args);
  const url = `nbd://127.0.0.1:${args[args.indexOf('-p') + 1]}/${args[args.indexOf('-x') + 1]}`;
  await until(async () => {
    if (!process.running) throw new Error(process.output);
    return run('nbdinfo', ['--size', url]);
  });
  return process;
};

export const virtualSize = async (path: string): Promise<number> => {
  const { stdout } = await run('qemu-img', ['info', '-U', '--output=json', path]);
  return (JSON.parse(stdout) as { 'virtual-size': number })['virtual-size'];
};

const textOf = async (request: IncomingMessage): Promise<string> => {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
};
