import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Telemetry } from './telemetry.js';

/** True: fit to take work. A check that throws or takes over 2 s counts as false. */
export type ReadyCheck = () => boolean | Promise<boolean>;

const checkTimeoutMs = 2_000;

/** `/health/live`, `/health/ready` and `/metrics`: for the orchestrator, not for users; it has no secrets to tell. */
export class HealthServer {
  readonly #checks = new Map<string, ReadyCheck>();
  readonly #telemetry: Telemetry;
  readonly #server: Server;
  #ready = false;

  constructor(telemetry: Telemetry) {
    this.#telemetry = telemetry;
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  check(name: string, check: ReadyCheck): void {
    this.#checks.set(name, check);
  }
  setReady(ready: boolean): void {
    this.#ready = ready;
  }

  /** Returns the port. */
  async listen(address: string, port: number): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, address, resolve);
    });
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const json = (status: number, body: object) => {
      response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
      response.end(JSON.stringify(body));
    };
    if (request.method !== 'GET') return json(405, { status: 'method not allowed' });
    const path = request.url?.split('?')[0];
    if (path === '/health/live') return json(200, { status: 'live' });
    if (path === '/metrics') return this.#scrape(request, response);
    if (path !== '/health/ready') return json(404, { status: 'not found' });
    const checks = await this.#results();
    const ready = this.#ready && Object.values(checks).every(Boolean);
    json(ready ? 200 : 503, { status: ready ? 'ready' : 'not ready', checks });
  }

  async #scrape({ headers }: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const { contentType, text } = await this.#telemetry.scrape(headers.accept);
      response.writeHead(200, { 'content-type': contentType });
      response.end(text);
    } catch (error) {
      response.writeHead(503, { 'content-type': 'text/plain' });
      response.end(`no metrics: ${String(error)}\n`);
    }
  }

  async #results(): Promise<Record<string, boolean>> {
    const results: Record<string, boolean> = {};
    for (const [name, check] of this.#checks) results[name] = await passes(check);
    return results;
  }
}

const passes = async (check: ReadyCheck): Promise<boolean> => {
  const timer = new AbortController();
  try {
    const late = sleep(checkTimeoutMs, false, { signal: timer.signal }).catch(() => false);
    return await Promise.race([check(), late]);
  } catch {
    return false;
  } finally {
    timer.abort();
  }
};
