import { once } from 'node:events';
import { createServer as overHttp, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import { createServer as overHttps } from 'node:https';
import { type AddressInfo } from 'node:net';

export interface Received {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** A real HTTP server that keeps what it is sent, and answers as a test says. */
export class WebhookReceiver {
  readonly received: Received[] = [];
  /** Keys that were being sent twice at the same time. */
  readonly overlaps: string[] = [];
  answer: (response: ServerResponse) => void = (response) => response.writeHead(204).end();
  readonly #going = new Set<string>();
  readonly #server;

  private constructor(readonly tls: { key: Buffer; cert: Buffer } | null) {
    this.#server = tls ? overHttps(tls) : overHttp();
    this.#server.on('request', (request, response) => {
      const chunks: Buffer[] = [];
      const key = String(request.headers['idempotency-key']);
      if (this.#going.has(key)) this.overlaps.push(key);
      this.#going.add(key);
      response.on('close', () => this.#going.delete(key));
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        this.received.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
        this.answer(response);
      });
    });
  }

  static async start(tls: { key: Buffer; cert: Buffer } | null = null): Promise<WebhookReceiver> {
    const receiver = new WebhookReceiver(tls);
    receiver.#server.listen(0, '127.0.0.1');
    await once(receiver.#server, 'listening');
    return receiver;
  }

  get origin(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `http${this.tls ? 's' : ''}://127.0.0.1:${port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
