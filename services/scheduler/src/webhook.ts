import { createHmac } from 'node:crypto';
import { request as overHttp, STATUS_CODES } from 'node:http';
import { request as overHttps } from 'node:https';
import { Fault } from '@casvault/contracts';
import { type Notice } from './delivery.rules.js';

/** A webhook with its secrets in clear. */
export interface Webhook {
  readonly url: string;
  readonly hmacSecret: string | null;
  readonly bearerToken: string | null;
  readonly caCertificate: string | null;
}

const refused = (message: string, cause?: unknown): Fault =>
  new Fault('DEPENDENCY_UNAVAILABLE', message, { cause });

/** Also of a connection that was tried at several addresses, of which Node says nothing in the message. */
const wordsOf = (error: Error): string =>
  error instanceof AggregateError
    ? error.errors.map((one) => (one as Error).message).join('; ')
    : error.message;

/** `sha256=` and the HMAC of time-stamp, a dot, and the body, so that a receiver can refuse what is old. */
const signature = (secret: string, timestamp: string, body: string): string =>
  `sha256=${createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex')}`;

const headersOf = ({ hmacSecret, bearerToken }: Webhook, notice: Notice, body: string, now: Date) => {
  const timestamp = String(Math.floor(now.getTime() / 1_000));
  return {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': String(Buffer.byteLength(body)),
    'User-Agent': 'casvault',
    'Idempotency-Key': notice.key,
    'X-Casvault-Event': notice.event,
    'X-Casvault-Timestamp': timestamp,
    ...(hmacSecret === null ? {} : { 'X-Casvault-Signature': signature(hmacSecret, timestamp, body) }),
    ...(bearerToken === null ? {} : { Authorization: `Bearer ${bearerToken}` }),
  };
};

/**
 * POSTs the notice. Anything but a 2xx is a fault that says the status alone: nothing of the answer's body is read, told or
 * kept, and a redirection is not followed, so that a webhook cannot be made to fetch something else.
 */
export const postWebhook = async (
  webhook: Webhook,
  notice: Notice,
  now: Date,
  signal: AbortSignal,
): Promise<void> => {
  const { key: _, ...told } = notice;
  const body = JSON.stringify(told);
  const status = await statusOf(webhook, headersOf(webhook, notice, body, now), body, signal);
  if (status < 200 || status > 299) throw refused(`HTTP ${status} ${STATUS_CODES[status] ?? ''}`.trim());
};

const statusOf = (
  { url, caCertificate }: Webhook,
  headers: Record<string, string>,
  body: string,
  signal: AbortSignal,
): Promise<number> =>
  new Promise((resolve, reject) => {
    const target = new URL(url);
    if (!/^https?:$/.test(target.protocol)) throw refused('the URL must be http:// or https://');
    const send = target.protocol === 'https:' ? overHttps : overHttp;
    // No kept connections: alerts are rare, and an old connection may be gone.
    const options = { method: 'POST', headers, signal, agent: false as const };
    const request = send(
      target,
      caCertificate === null ? options : { ...options, ca: caCertificate },
      (response) => {
        resolve(response.statusCode ?? 0);
        response.destroy();
      },
    );
    request.on('error', (error) =>
      reject(signal.aborted ? Fault.ofAbort(signal) : refused(wordsOf(error), error)),
    );
    request.end(body);
  });
