import { createInbox, errors, type Msg, type MsgHdrs, type NatsConnection } from '@nats-io/transport-node';
import { Fault } from '@casvault/contracts';
import { headerNames } from './headers.js';

/** How often whoever handles a watched request says that it is at work. */
export const aliveEveryMs = 2_000;
/** So long without a word, the handler is taken for dead: some words may be late where a machine is busy. */
export const silenceMs = 10_000;
/** How often the server is asked whether the process that handles a request is still connected. */
const lookEveryMs = 1_000;
/** So many looks in a row that find nobody: a connection that was lost for a moment is back by then. */
const looksInVain = 2;

interface WatchedRequest {
  readonly subject: string;
  readonly body: Uint8Array;
  readonly headers: MsgHdrs;
  readonly timeoutMs: number;
}

const noRespondersCode = 503;
const stoppedWaiting = (): Fault => new Fault('STOPPED', 'the caller stopped waiting');

/**
 * A request whose handler says at once who it is, and again and again that it is at work, so that a caller who would wait for
 * minutes hears of its death: DEPENDENCY_UNAVAILABLE, within three seconds when the server finds it gone, and within `silenceMs` in
 * any case. Otherwise as `connection.request`; ends without a result when `signal` aborts.
 */
export const watchedRequest = (
  connection: NatsConnection,
  { subject, body, headers, timeoutMs }: WatchedRequest,
  signal: AbortSignal | undefined,
): Promise<Msg> =>
  new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(stoppedWaiting());
    headers.set(headerNames.aliveMs, String(aliveEveryMs));
    const inbox = createInbox();
    const subscription = connection.subscribe(inbox, {
      callback: (error, message) => {
        if (error) return end(() => reject(error));
        if (message.headers?.has(headerNames.aliveMs)) return lives(message.headers);
        if (message.headers?.code === noRespondersCode) return nobody();
        end(() => resolve(message));
      },
    });
    let handler = '';
    let inVain = 0;
    let looking: NodeJS.Timeout | undefined;
    const lives = (said: MsgHdrs): void => {
      inVain = 0;
      silence.refresh();
      handler = said.get(headerNames.handler);
      if (handler !== '') looking ??= setInterval(look, lookEveryMs);
    };
    const look = (): void => {
      try {
        connection.publish(handler, undefined, { reply: inbox });
      } catch {
        // The connection is closed: the silence tells.
      }
    };
    /** Nobody took the request, or, once somebody did, nobody is left at its handler's place. */
    const nobody = (): void => {
      if (looking === undefined) return end(() => reject(new errors.NoRespondersError(subject)));
      inVain += 1;
      if (inVain >= looksInVain)
        end(() => reject(new Fault('DEPENDENCY_UNAVAILABLE', `whoever handled ${subject} is gone`)));
    };
    const end = (settle: () => void): void => {
      clearTimeout(deadline);
      clearTimeout(silence);
      clearInterval(looking);
      signal?.removeEventListener('abort', stopped);
      subscription.unsubscribe();
      settle();
    };
    const fail = (error: Error) => () => end(() => reject(error));
    const stopped = fail(stoppedWaiting());
    const deadline = setTimeout(fail(new errors.TimeoutError()), timeoutMs);
    const silent = new Fault('DEPENDENCY_UNAVAILABLE', `whoever handled ${subject} fell silent`);
    const silence = setTimeout(fail(silent), silenceMs);
    signal?.addEventListener('abort', stopped, { once: true });
    try {
      connection.publish(subject, body, { reply: inbox, headers });
    } catch (error) {
      fail(error instanceof Error ? error : new Error(String(error)))();
    }
  });
