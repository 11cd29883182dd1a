import { execFile } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  alertNoticeSchema,
  newId,
  type Alert,
  type AlertChannelId,
  type AlertId,
  type JobId,
  type RunId,
} from '@casvault/contracts';
import { freePort, tempDir, type TempDir } from '@casvault/testkit';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { noticeOf } from '../src/delivery.rules.js';
import { sendMail, type MailServer } from '../src/mail.js';
import { postWebhook, type Webhook } from '../src/webhook.js';
import { WebhookReceiver } from './webhook-receiver.js';

const alert: Alert = {
  id: newId<AlertId>(),
  kind: 'run-failed',
  severity: 'error',
  jobId: newId<JobId>(),
  jobName: 'nightly\r\nBcc: thief@evil.example',
  runId: newId<RunId>(),
  vmNames: ['db\r\n.\r\nMAIL FROM:<x@evil.example>'],
  vmCount: 1,
  reasons: [],
  fault: null,
  text: { en: 'it failed\r\nBcc: thief@evil.example', 'zh-CN': '运行失败' },
  at: '2026-03-01T03:00:00.000Z',
};
const notice = noticeOf(alert, newId<AlertChannelId>());
const now = new Date('2026-03-01T03:00:01.000Z');
const inTime = () => AbortSignal.timeout(60_000);

let place: TempDir;
let tls: { key: Buffer; cert: Buffer };
beforeAll(async () => {
  place = await tempDir();
  const [cert, key] = [join(place.path, 'cert.pem'), join(place.path, 'key.pem')];
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await promisify(execFile)('openssl', ['req', '-x509', ...newKey, ...subject, '-keyout', key, '-out', cert]);
  tls = { key: await readFile(key), cert: await readFile(cert) };
});
afterAll(() => place[Symbol.asyncDispose]());

/** A server that takes connections and says nothing. */
const mute = async (): Promise<Server> => {
  const server = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
};

describe('H3: webhooks over HTTP', () => {
  let receiver: WebhookReceiver;
  beforeEach(async () => {
    receiver = await WebhookReceiver.start();
  });
  afterEach(() => receiver.stop());

  const hook = (more: Partial<Webhook> = {}): Webhook => ({
    url: `${receiver.origin}/hooks/1?a=b`,
    hmacSecret: null,
    bearerToken: null,
    caCertificate: null,
    ...more,
  });
  const post = (more: Partial<Webhook> = {}) => postWebhook(hook(more), notice, now, inTime());

  it('POSTs the alert with its key, a bearer token, and a signature over time and body', async () => {
    await post({ hmacSecret: 'shared', bearerToken: 'token' });
    const [{ headers, body }] = receiver.received as [(typeof receiver.received)[0]];
    const told = alertNoticeSchema.parse(JSON.parse(body));
    expect(told).toEqual({ event: 'alert-raised', text: alert.text, alert, at: alert.at });
    const stamp = String(now.getTime() / 1_000);
    const signature = createHmac('sha256', 'shared').update(`${stamp}.${body}`).digest('hex');
    expect(headers).toMatchObject({
      'content-type': 'application/json; charset=utf-8',
      'idempotency-key': notice.key,
      authorization: 'Bearer token',
      'x-casvault-event': 'alert-raised',
      'x-casvault-timestamp': stamp,
      'x-casvault-signature': `sha256=${signature}`,
    });
  });

  it('sends neither signature nor token when there is none', async () => {
    await post();
    expect(receiver.received[0]?.headers).not.toHaveProperty('authorization');
    expect(receiver.received[0]?.headers).not.toHaveProperty('x-casvault-signature');
  });

  it.each([300, 404, 503])('takes %i as a failure, and tells nothing of the body', async (status) => {
    receiver.answer = (response) => response.writeHead(status).end('inner secrets');
    const fault = await post().then(String, (error: Error) => error.message);
    expect(fault).toMatch(new RegExp(`^HTTP ${status} [A-Z]`));
    expect(fault).not.toContain('secrets');
  });

  it('does not follow a redirection', async () => {
    const inner = await WebhookReceiver.start();
    receiver.answer = (response) => response.writeHead(307, { Location: inner.origin }).end();
    await expect(post()).rejects.toThrow('HTTP 307 Temporary Redirect');
    expect(inner.received).toEqual([]);
    await inner.stop();
  });

  it('does not wait for a body that never ends', async () => {
    receiver.answer = (response) => void response.writeHead(200).write('more');
    await post();
  });

  it('gives up on a server that says nothing when the signal says so', async () => {
    const server = await mute();
    const { port } = server.address() as AddressInfo;
    const posting = postWebhook(
      hook({ url: `http://127.0.0.1:${port}/` }),
      notice,
      now,
      AbortSignal.timeout(200),
    );
    await expect(posting).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    server.close();
  });

  it('says what the network said, and takes no other scheme', async () => {
    const port = await freePort();
    await expect(post({ url: `http://127.0.0.1:${port}/` })).rejects.toThrow(
      `connect ECONNREFUSED 127.0.0.1:${port}`,
    );
    await expect(post({ url: 'file:///etc/passwd' })).rejects.toThrow(/must be http/);
  });

  it('trusts a server by the certificate that is given, and no other', async () => {
    const secure = await WebhookReceiver.start(tls);
    await expect(post({ url: secure.origin })).rejects.toThrow(/self-signed certificate/);
    await post({ url: secure.origin, caCertificate: tls.cert.toString() });
    expect(secure.received).toHaveLength(1);
    await secure.stop();
  });
});

describe('H3: e-mail over SMTP', () => {
  interface Letter {
    readonly from: string;
    readonly to: string[];
    readonly user: string | undefined;
    readonly secure: boolean;
    readonly text: string;
  }
  const letters: Letter[] = [];
  let server: SMTPServer;
  afterEach(async () => {
    letters.length = 0;
    await new Promise<void>((resolve) => server.close(resolve));
  });

  const listen = async (options: SMTPServerOptions): Promise<number> => {
    server = new SMTPServer({
      ...options,
      logger: false,
      onAuth: ({ username, password }, _session, done) =>
        username === 'backup' && password === 's3cret'
          ? done(null, { user: username })
          : done(new Error('Authentication failed')),
      onRcptTo: ({ address }, _session, done) =>
        done(address.startsWith('nobody') ? new Error(`no mailbox ${address}`) : null),
      onData: (stream, { envelope, user, secure }, done) => {
        const chunks: Buffer[] = [];
        stream.on('data', (chunk: Buffer) => chunks.push(chunk));
        stream.on('end', () => {
          const { mailFrom, rcptTo } = envelope;
          const from = mailFrom === false ? '' : mailFrom.address;
          const to = rcptTo.map(({ address }) => address);
          letters.push({ from, to, user: user as string, secure, text: Buffer.concat(chunks).toString() });
          done();
        });
      },
    });
    server.on('error', () => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.server.address() as AddressInfo).port;
  };
  const mail = (port: number, more: Partial<MailServer> = {}): MailServer => ({
    type: 'smtp',
    host: '127.0.0.1',
    port,
    tls: 'none',
    user: null,
    password: null,
    from: 'backup@a.example',
    to: ['ops@a.example'],
    caCertificate: null,
    ...more,
  });
  const signedIn = () => ({ user: 'backup', password: 's3cret', caCertificate: tls.cert.toString() });
  const send = (to: MailServer) => sendMail(to, notice, now, inTime());

  it.each(['starttls', 'tls'] as const)('signs in over %s, and tells both languages', async (kind) => {
    const port = await listen({ ...tls, secure: kind === 'tls' });
    expect(
      await send(mail(port, { ...signedIn(), tls: kind, to: ['ops@a.example', 'b@a.example'] })),
    ).toBeNull();
    const [letter] = letters;
    expect(letter).toMatchObject({
      from: 'backup@a.example',
      to: ['ops@a.example', 'b@a.example'],
      user: 'backup',
      secure: true,
    });
    const body = letter!.text.slice(letter!.text.indexOf('\r\n\r\n')).trim();
    const encoding = /Content-Transfer-Encoding: (\S+)/.exec(letter!.text)?.[1];
    const text =
      encoding === 'base64'
        ? Buffer.from(body, 'base64').toString()
        : decodeURIComponent(
            body
              .replace(/=\r\n/g, '')
              .replace(/%/g, '%25')
              .replace(/=([0-9A-F]{2})/g, '%$1'),
          );
    expect(text).toContain('运行失败');
    expect(text).toContain(`run: ${alert.runId}`);
  });

  it('sends no header, no recipient and no command that a name holds', async () => {
    const port = await listen({ disabledCommands: ['AUTH', 'STARTTLS'] });
    await send(mail(port));
    const [letter] = letters;
    const head = letter!.text.slice(0, letter!.text.indexOf('\r\n\r\n'));
    expect(head).not.toMatch(/^Bcc:/im);
    expect(head.replace(/\r\n /g, ' ')).toContain(`Message-ID: <${notice.key.replace(':', '.')}@casvault>`);
    expect(letter).toMatchObject({ from: 'backup@a.example', to: ['ops@a.example'] });
    expect(letters).toHaveLength(1);
  });

  it('says what the server said of a wrong password, and what it thinks of the certificate', async () => {
    const port = await listen(tls);
    await expect(send(mail(port, { ...signedIn(), tls: 'starttls', password: 'wrong' }))).rejects.toThrow(
      /535 Authentication failed/,
    );
    await expect(send(mail(port, { tls: 'starttls' }))).rejects.toThrow(/self-signed certificate/);
  });

  it('sends nothing in clear to a server without TLS when it was asked for', async () => {
    const port = await listen({ disabledCommands: ['STARTTLS'] });
    await expect(send(mail(port, { ...signedIn(), tls: 'starttls' }))).rejects.toThrow(/STARTTLS/i);
    expect(letters).toEqual([]);
  });

  it('tells which recipients were refused, and fails when all were', async () => {
    const port = await listen({ disabledCommands: ['AUTH', 'STARTTLS'] });
    const some = await send(mail(port, { to: ['ops@a.example', 'nobody@a.example'] }));
    expect(some).toMatch(/no mailbox nobody@a.example/);
    expect(letters[0]?.to).toEqual(['ops@a.example']);
    await expect(send(mail(port, { to: ['nobody@a.example'] }))).rejects.toThrow(/no mailbox/);
  });

  it('gives up on a server that says nothing when the signal says so', async () => {
    await listen({});
    const silent = await mute();
    const { port } = silent.address() as AddressInfo;
    const sending = sendMail(mail(port), notice, now, AbortSignal.timeout(200));
    await expect(sending).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    silent.close();
  });
});
