import { Fault, type ChannelSettings } from '@casvault/contracts';
import MailComposer from 'nodemailer/lib/mail-composer';
import SMTPConnection, {
  type SMTPConnectionSendInfo,
  type SMTPEnvelope,
} from 'nodemailer/lib/smtp-connection';
import { mailTextOf, subjectOf, type Notice } from './delivery.rules.js';

/** A mail server with its password in clear, and the letter's addresses. */
export type MailServer = Omit<Extract<ChannelSettings, { type: 'smtp' }>, 'password'> & {
  readonly password: string | null;
};

/** How long the server may be silent at each step; the whole is bounded by the signal. */
const silenceMs = 10_000;

/** The same letter has the same id in every attempt: mail programs show it once. */
const letterOf = ({ from, to }: MailServer, notice: Notice, now: Date) =>
  new MailComposer({
    from,
    to: [...to],
    subject: subjectOf(notice),
    text: mailTextOf(notice),
    date: now,
    messageId: `<${notice.key.replace(':', '.')}@casvault>`,
    headers: { 'Auto-Submitted': 'auto-generated', 'X-Casvault-Event': notice.event },
    disableFileAccess: true,
    disableUrlAccess: true,
  }).compile();

const connectionTo = ({ host, port, tls, caCertificate }: MailServer): SMTPConnection =>
  new SMTPConnection({
    host,
    port,
    secure: tls === 'tls',
    requireTLS: tls === 'starttls',
    ignoreTLS: tls === 'none',
    connectionTimeout: silenceMs,
    greetingTimeout: silenceMs,
    socketTimeout: silenceMs,
    dnsTimeout: silenceMs,
    socketCloseTimeout: 0,
    tls: caCertificate === null ? {} : { ca: caCertificate },
  });

const step = <T>(begin: (done: (error?: Error | null, result?: T) => void) => void): Promise<T | undefined> =>
  new Promise((resolve, reject) => begin((error, result) => (error ? reject(error) : resolve(result))));

/**
 * Hands a letter to the mail server. Of recipients that it refused while it took others it returns what it said: the letter is
 * not sent to those again. Everything else that goes wrong is a fault with the server's or the network's words.
 */
export const sendMail = async (
  server: MailServer,
  notice: Notice,
  now: Date,
  signal: AbortSignal,
): Promise<string | null> => {
  const letter = letterOf(server, notice, now);
  const message = await letter.build();
  const connection = connectionTo(server);
  const broken = new Promise<never>((_resolve, reject) => {
    connection.on('error', reject);
    signal.addEventListener('abort', () => reject(Fault.ofAbort(signal)), { once: true });
  });
  try {
    return await Promise.race([broken, handOver(connection, server, letter.getEnvelope(), message)]);
  } catch (error) {
    if (Fault.is(error)) throw error;
    const words = error instanceof Error ? error.message : String(error);
    throw new Fault('DEPENDENCY_UNAVAILABLE', words, { cause: error });
  } finally {
    connection.close();
  }
};

const handOver = async (
  connection: SMTPConnection,
  { user, password }: MailServer,
  envelope: SMTPEnvelope,
  message: Buffer,
): Promise<string | null> => {
  await step((done) => connection.connect(done));
  if (user !== null) await step((done) => connection.login({ user, pass: password ?? '' }, done));
  const sent = await step<SMTPConnectionSendInfo>((done) => connection.send(envelope, message, done));
  connection.quit();
  const refused = sent?.rejectedErrors?.map((error) => error.message) ?? [];
  return refused.length > 0 ? refused.join('; ') : null;
};
