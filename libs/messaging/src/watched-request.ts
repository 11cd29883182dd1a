import { createInbox, errors, type Msg, type MsgHdrs, type NatsConnection } from '@nats-io/transport-node';
import { Fault } from '@casvault/contracts';
import { headerNames } from './headers.js';

/** How often whoever handles a watched request says that it is at work. */
export const aliveEveryMs = 2_000;
/** So long without a word, the handler is taken for dead: some words may be late where a machine is busy. */
export const silenceMs = 10_000;

interface WatchedRequest {
  readonly subject: string;
  readonly body: Uint8Array;
  readonly headers: MsgHdrs;
  readonly timeoutMs: number;
}

const noRespondersCode = 503;
const stoppedWaiting = (): Fault => new Fault('STOPPED', 'the caller stopped waiting');

/**
 * A request whose handler says again and again that it is at work, so that a caller who would wait for minutes hears of its death
 * within `silenceMs`: DEPENDENCY_UNAVAILABLE. Otherwise as `connection.request`; ends without a result when `signal` aborts.
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
        if (message.headers?.has(headerNames.aliveMs)) return void silence.refresh();
        if (message.headers?.code === noRespondersCode)
          return end(() => reject(new errors.NoRespondersError(subject)));
        end(() => resolve(message));
      },
    });
    const end = (settle: () => void): void => {
      clearTimeout(deadline);
      clearTimeout(silence);
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
