import { createHash, randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

export interface RawReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

export interface RawRequest {
  readonly method?: string;
  readonly accept?: string;
  readonly body?: unknown;
  readonly type?: string;
  readonly cookie?: string;
}

const md5 = (text: string): string => createHash('md5').update(text).digest('hex');

/** A client of the CVM that knows only HTTP and digest authentication: nothing of the product is in it. */
export class RawCas {
  constructor(
    readonly address: string,
    readonly port: number,
    readonly user: string,
    readonly password: string,
  ) {}

  /** One exchange as it is, without signing in. */
  async exchange(path: string, options: RawRequest = {}, authorization?: string): Promise<RawReply> {
    const { method = 'GET', accept = 'application/json', body, type = 'application/json', cookie } = options;
    const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
    return await new Promise((resolve, reject) => {
      const headers = {
        accept,
        ...(text === undefined ? {} : { 'content-type': type, 'content-length': Buffer.byteLength(text) }),
        ...(authorization === undefined ? {} : { authorization }),
        ...(cookie === undefined ? {} : { cookie }),
      };
      const sent = request(
        { host: this.address, port: this.port, method, path, headers, agent: false },
        (reply) => {
          const parts: Buffer[] = [];
          reply.on('data', (part: Buffer) => parts.push(part));
          reply.on('end', () =>
            resolve({
              status: reply.statusCode ?? 0,
              headers: reply.headers,
              text: Buffer.concat(parts).toString(),
            }),
          );
        },
      );
      sent.on('error', reject);
      sent.end(text);
    });
  }

  /** One call below /cas/casrs, signed in by digest. */
  async call(path: string, options: RawRequest = {}): Promise<RawReply> {
    const uri = `/cas/casrs${path}`;
    const first = await this.exchange(uri, options);
    const challenge = String(first.headers['www-authenticate'] ?? '');
    if (first.status !== 401) return first;
    return await this.exchange(uri, options, this.#answer(challenge, options.method ?? 'GET', uri));
  }

  #answer(challenge: string, method: string, uri: string): string {
    const field = (name: string): string => new RegExp(`${name}="([^"]*)"`).exec(challenge)?.[1] ?? '';
    const nonce = field('nonce');
    const secret = md5(`${this.user}:${field('realm')}:${this.password}`);
    const what = md5(`${method}:${uri}`);
    const head = `Digest username="${this.user}", realm="${field('realm')}", nonce="${nonce}", uri="${uri}"`;
    if (field('qop') === '') return `${head}, response="${md5(`${secret}:${nonce}:${what}`)}"`;
    const cnonce = randomBytes(8).toString('hex');
    const response = md5(`${secret}:${nonce}:00000001:${cnonce}:auth:${what}`);
    return `${head}, qop=auth, nc=00000001, cnonce="${cnonce}", response="${response}"`;
  }

  /** The reply's JSON; throws for anything but a 2xx. */
  async json(path: string, options: RawRequest = {}): Promise<Record<string, unknown>> {
    const reply = await this.call(path, options);
    if (reply.status < 200 || reply.status > 299) {
      const words = Buffer.from(String(reply.headers['error-message'] ?? ''), 'latin1');
      throw new Error(`${path}: ${String(reply.status)} ${new TextDecoder('gb18030').decode(words)}`);
    }
    return reply.text === '' ? {} : (JSON.parse(reply.text) as Record<string, unknown>);
  }

  /** Starts a task and waits for its end; what `taskMsg` says then. */
  async task(path: string, options: RawRequest): Promise<Record<string, string>> {
    const { msgId } = (await this.json(path, options)) as { msgId: string };
    for (;;) {
      const state = (await this.json(`/message/${msgId}`)) as Record<string, string>;
      if (state['completed'] === 'true') return state;
      await sleep(100);
    }
  }
}
