import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { Fault } from '@casvault/contracts';
import { connectionFault } from './connection-fault.js';
import { DigestSession } from './digest.js';

export interface CasConnection {
  /** IP address or name of the CVM. */
  readonly address: string;
  readonly port: number;
  readonly ssl: boolean;
  /** Accepts a certificate that no known authority signed. */
  readonly sslIgnoreErrors: boolean;
  readonly userName: string;
  readonly password: string;
  /** For one request, from its first byte to the reply's last. Default 30 s. */
  readonly timeoutMs?: number;
}

export interface CasRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Below `/cas/casrs`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number>>;
  readonly body?: { readonly type: string; readonly text: string };
  readonly accept: string;
  readonly signal?: AbortSignal;
}

export interface CasReply {
  readonly status: number;
  /** Names in lower case; values as latin1, byte for byte. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** A list of 1000 VMs is below 2 MB; whatever is larger than this is not a CVM's reply. */
const maxBodyBytes = 64 * 1024 * 1024;
const sockets = 4;
const base = '/cas/casrs';

const headersOf = (message: IncomingMessage): Record<string, string> => {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(message.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return headers;
};

/** Memory: at most `maxBodyBytes` for one reply. */
const readBody = async (message: IncomingMessage): Promise<Buffer> => {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of message as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > maxBodyBytes)
      throw new Fault('PLATFORM_PROTOCOL', `a reply is larger than ${maxBodyBytes} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts);
};

/**
 * One CVM over HTTP with digest authentication. Reads share up to 4 kept-alive connections; a write opens its own, so
 * that a connection which the CVM has just closed never leaves it open whether the write arrived.
 */
export class HttpTransport {
  private readonly agent: HttpAgent | HttpsAgent;
  private readonly session: DigestSession;
  private readonly timeoutMs: number;

  constructor(readonly connection: CasConnection) {
    const options = { keepAlive: true, maxSockets: sockets };
    this.agent = connection.ssl
      ? new HttpsAgent({ ...options, rejectUnauthorized: !connection.sslIgnoreErrors })
      : new HttpAgent(options);
    this.session = new DigestSession(connection);
    this.timeoutMs = connection.timeoutMs ?? 30_000;
  }

  /**
   * Sends one request and answers the CVM's challenges: the first, and one for a nonce that has run out.
   * Throws PLATFORM_UNREACHABLE, PLATFORM_CERTIFICATE_INVALID or PLATFORM_PROTOCOL; any HTTP status is a reply.
   */
  async send(request: CasRequest): Promise<CasReply> {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(request.query ?? {})) query.set(name, String(value));
    const uri = `${base}${request.path}${query.size === 0 ? '' : `?${query.toString()}`}`;
    const offered = this.session.authorization(request.method, uri);
    const reply = await this.exchange(request, uri, offered);
    if (reply.status !== 401 || !this.session.accept(reply.headers['www-authenticate'] ?? '')) return reply;
    return this.exchange(request, uri, this.session.authorization(request.method, uri));
  }

  close(): void {
    this.agent.destroy();
  }

  private async exchange(request: CasRequest, uri: string, authorization: string | null): Promise<CasReply> {
    const timeout = AbortSignal.timeout(this.timeoutMs);
    const signal = request.signal === undefined ? timeout : AbortSignal.any([request.signal, timeout]);
    try {
      return await this.once(request, uri, authorization, signal);
    } catch (error) {
      if (request.signal?.aborted === true) throw Fault.ofAbort(request.signal);
      const cause = timeout.aborted ? Object.assign(new Error('timeout'), { code: 'ETIMEDOUT' }) : error;
      throw connectionFault(this.connection, cause);
    }
  }

  private async once(
    request: CasRequest,
    uri: string,
    authorization: string | null,
    signal: AbortSignal,
  ): Promise<CasReply> {
    const { address, port, ssl, sslIgnoreErrors } = this.connection;
    const isRead = request.method === 'GET';
    const headers: Record<string, string> = { accept: request.accept };
    if (authorization !== null) headers['authorization'] = authorization;
    if (request.body !== undefined) {
      headers['content-type'] = request.body.type;
      headers['content-length'] = String(Buffer.byteLength(request.body.text));
    }
    const message = await new Promise<IncomingMessage>((resolve, reject) => {
      const options = {
        host: address,
        port,
        method: request.method,
        path: uri,
        headers,
        signal,
        agent: isRead ? this.agent : false,
      };
      const outgoing = ssl
        ? httpsRequest({ ...options, rejectUnauthorized: !sslIgnoreErrors } as never)
        : httpRequest(options as never);
      outgoing.once('response', resolve).once('error', reject);
      outgoing.end(request.body?.text);
    });
    return { status: message.statusCode ?? 0, headers: headersOf(message), body: await readBody(message) };
  }
}
