import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo } from 'node:net';
import { text as readText } from 'node:stream/consumers';

/** A reply as it goes over the wire. Header values are bytes in latin1. */
export interface RecordedReply {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
}
export interface RecordedRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly accept: string;
  readonly body: string;
  readonly authorization: string;
}
type Route = (request: RecordedRequest) => RecordedReply;

export interface RecordedCvm {
  readonly port: number;
  /** Requests that came through, without the challenges. */
  readonly requests: RecordedRequest[];
  challenges: number;
  /** Forgets every nonce: the next request is challenged again. */
  expireNonces(): void;
  close(): Promise<void>;
}

const md5 = (value: string): string => createHash('md5').update(value).digest('hex');

/** Checks a digest as a strict server does: known nonce, rising count, uri as requested. */
const isAuthorised = (
  header: string,
  request: { method: string; uri: string },
  account: { userName: string; password: string },
  nonces: Map<string, number>,
): boolean => {
  const fields = new Map<string, string>();
  for (const [, key, quoted, bare] of header.matchAll(/(\w+)=(?:"([^"]*)"|([^\s,]+))/g))
    fields.set(key ?? '', quoted ?? bare ?? '');
  const nonce = fields.get('nonce') ?? '';
  const count = Number.parseInt(fields.get('nc') ?? '0', 16);
  const last = nonces.get(nonce);
  if (last === undefined || count <= last || fields.get('uri') !== request.uri) return false;
  nonces.set(nonce, count);
  const secret = md5(`${account.userName}:${realm}:${account.password}`);
  const what = md5(`${request.method}:${request.uri}`);
  const middle = `${nonce}:${fields.get('nc')}:${fields.get('cnonce')}:auth`;
  return fields.get('response') === md5(`${secret}:${middle}:${what}`);
};

const realm = 'VMC RESTful Web Services';

/** An HTTP server that asks for digest authentication and answers with the given bytes: the wire, not a CAS. */
export const startRecordedCvm = async (options: { routes: Record<string, Route> }): Promise<RecordedCvm> => {
  const nonces = new Map<string, number>();
  const account = { userName: 'admin', password: 'right' };
  const cvm = { requests: [] as RecordedRequest[], challenges: 0 };
  const answer = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const uri = incoming.url ?? '';
    const method = incoming.method ?? 'GET';
    const body = await readText(incoming);
    const authorization = incoming.headers.authorization ?? '';
    if (!isAuthorised(authorization, { method, uri }, account, nonces)) {
      cvm.challenges += 1;
      const nonce = md5(`nonce ${cvm.challenges}`);
      nonces.set(nonce, 0);
      outgoing.writeHead(401, {
        'www-authenticate': `Digest realm="${realm}", qop="auth", nonce="${nonce}", opaque="o"`,
      });
      outgoing.end('');
      return;
    }
    const url = new URL(uri, 'http://localhost');
    const path = url.pathname.replace('/cas/casrs', '');
    const accept = incoming.headers.accept ?? '';
    const request = { method, path, query: url.searchParams, accept, body, authorization };
    cvm.requests.push(request);
    const reply = options.routes[`${method} ${path}`]?.(request) ?? { status: 404 };
    outgoing.writeHead(reply.status ?? 200, { 'content-type': 'application/json', ...reply.headers });
    outgoing.end(reply.body ?? '');
  };
  const listener = (incoming: IncomingMessage, outgoing: ServerResponse) => void answer(incoming, outgoing);
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(cvm, {
    port: (server.address() as AddressInfo).port,
    expireNonces: () => nonces.clear(),
    close: () =>
      new Promise<void>((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  });
};
