import http, {
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from 'node:http';
import https from 'node:https';
import { type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** What goes wrong with one request on its way to an HTTP server, or with the reply. */
export type ProxyFault =
  /** Answered here; the server never hears of it. */
  | { readonly kind: 'status'; readonly status: number; readonly body?: string }
  /** The connection breaks after so many bytes of the request's body; the server never hears of it. */
  | { readonly kind: 'cut-request'; readonly afterBytes: number }
  /** The server has done its work; the connection breaks after so many bytes of the reply's body. */
  | { readonly kind: 'cut-reply'; readonly afterBytes: number }
  /** The server has done its work; the connection breaks before a word of the reply. */
  | { readonly kind: 'drop-reply' }
  /** As `drop-reply`, but a gateway in front answers in the server's place. */
  | { readonly kind: 'replace-reply'; readonly status: number }
  /** Passed on later. */
  | { readonly kind: 'delay'; readonly ms: number }
  /** Neither passed on nor answered, the connection stays open. */
  | { readonly kind: 'silence' };

export interface ProxyRule {
  readonly fault: ProxyFault;
  readonly method?: string;
  /** Of path and query. */
  readonly path?: RegExp;
  /** So many requests are hit, 1 by default; then the rule is used up. */
  readonly times?: number;
}

export interface S3Proxy {
  readonly endpoint: string;
  /** Requests in the order of their arrival: `PUT /bucket/key`. */
  readonly requests: readonly string[];
  /** Their headers, in the same order. */
  readonly headers: readonly IncomingHttpHeaders[];
  /** The first rule that fits a request decides; requests that none fits pass. */
  inject(rule: ProxyRule): void;
  stop(): Promise<void>;
}

export interface S3ProxyOptions {
  /** `http://host:port` of the real server. */
  readonly target: string;
  /** Serve HTTPS with this certificate; the way to the target stays plain. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

interface Rule extends ProxyRule {
  left: number;
}

/** A reverse proxy on loopback that breaks requests by rule. Signatures stay good: the Host header is passed as it came. */
export const startS3Proxy = async ({ target, tls }: S3ProxyOptions): Promise<S3Proxy> => {
  const rules: Rule[] = [];
  const requests: string[] = [];
  const headers: IncomingHttpHeaders[] = [];
  const listener: RequestListener = (request, response) => {
    requests.push(`${request.method} ${request.url}`);
    headers.push(request.headers);
    void handle(target, take(rules, request)?.fault, request, response).catch(() => {
      response.destroy();
    });
  };
  const server = tls === undefined ? http.createServer(listener) : https.createServer(tls, listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    requests,
    headers,
    inject: (rule) => {
      rules.push({ ...rule, left: rule.times ?? 1 });
    },
    stop: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
};

const take = (rules: Rule[], { method, url = '' }: IncomingMessage): Rule | null => {
  const index = rules.findIndex((rule) => {
    const fits = rule.method === undefined || rule.method === method;
    return fits && (rule.path === undefined || rule.path.test(url));
  });
  const rule = rules[index];
  if (rule === undefined) return null;
  rule.left -= 1;
  if (rule.left <= 0) rules.splice(index, 1);
  return rule;
};

const handle = async (
  target: string,
  fault: ProxyFault | undefined,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> => {
  if (fault?.kind === 'silence') return;
  if (fault?.kind === 'cut-request') {
    await receive(request, fault.afterBytes);
    response.destroy();
    return;
  }
  const body = await receive(request);
  if (fault?.kind === 'status') {
    response.writeHead(fault.status).end(fault.body ?? '');
    return;
  }
  if (fault?.kind === 'delay') await sleep(fault.ms);
  answer(fault, response, await forward(target, request, body));
};

interface Reply {
  readonly message: IncomingMessage;
  readonly body: Buffer;
}

const answer = (fault: ProxyFault | undefined, response: ServerResponse, { message, body }: Reply): void => {
  if (fault?.kind === 'drop-reply') response.destroy();
  else if (fault?.kind === 'replace-reply') response.writeHead(fault.status).end();
  else {
    response.writeHead(message.statusCode ?? 502, message.rawHeaders);
    if (fault?.kind !== 'cut-reply') response.end(body);
    else response.write(body.subarray(0, fault.afterBytes), () => response.destroy());
  }
};

/** Keeps one whole body in memory: this is for tests. */
const receive = async (message: IncomingMessage, atMost = Infinity): Promise<Buffer> => {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of message as AsyncIterable<Buffer>) {
    pieces.push(piece);
    length += piece.length;
    if (length >= atMost) break;
  }
  return Buffer.concat(pieces);
};

const forward = (target: string, request: IncomingMessage, body: Buffer): Promise<Reply> =>
  new Promise((resolve, reject) => {
    const { method, rawHeaders } = request;
    const onward = http.request(new URL(request.url ?? '/', target), { method, headers: pairs(rawHeaders) });
    onward.once('response', (message) => {
      receive(message).then((reply) => {
        resolve({ message, body: reply });
      }, reject);
    });
    onward.once('error', reject);
    onward.end(body);
  });

const pairs = (raw: readonly string[]): Record<string, string> => {
  const headers: Record<string, string> = {};
  for (let i = 0; i < raw.length; i += 2) headers[raw[i] ?? ''] = raw[i + 1] ?? '';
  return headers;
};
