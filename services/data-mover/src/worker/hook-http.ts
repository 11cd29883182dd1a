import { request as overHttp } from 'node:http';
import { request as overHttps } from 'node:https';
import { Fault, type FaultJson, type HookAction, type HookResult } from '@casvault/contracts';

type HttpCheck = Extract<HookAction, { type: 'http' }>;

/** As it is told: what may be a secret in a query is not. */
const placeOf = ({ method, url }: HttpCheck): string => {
  const { origin, pathname } = new URL(url);
  return `${method} ${origin}${pathname}`;
};

const isExpected = ({ expectStatus }: HttpCheck, status: number): boolean =>
  expectStatus ? expectStatus.includes(status) : status >= 200 && status <= 299;

/** Of the answer only the status is taken: nothing of its body is read, and a redirection is not followed. */
const statusOf = ({ method, url }: HttpCheck, signal: AbortSignal): Promise<number> =>
  new Promise((resolve, reject) => {
    const target = new URL(url);
    const send = target.protocol === 'https:' ? overHttps : overHttp;
    const headers = { 'User-Agent': 'casvault' };
    const request = send(target, { method, headers, signal, agent: false }, (response) => {
      resolve(response.statusCode ?? 0);
      response.destroy();
    });
    request.on('error', reject);
    request.end();
  });

/** Also of a connection that was tried at several addresses. */
const causeOf = (error: unknown): string => {
  const [first] = error instanceof AggregateError ? (error.errors as unknown[]) : [error];
  const { code, message } = first as NodeJS.ErrnoException;
  return code ?? message;
};

/** Asks once. What cannot be reached, or does not answer in time, does not hold; STOPPED when `signal` aborts. */
export const checkHttp = async (check: HttpCheck, signal: AbortSignal): Promise<HookResult> => {
  const place = placeOf(check);
  const told = (httpStatus: number | null, fault: FaultJson | null): HookResult => ({
    fault,
    exitCode: null,
    httpStatus,
    output: [],
    droppedBytes: 0,
  });
  const time = AbortSignal.timeout(check.timeoutSeconds * 1_000);
  try {
    const status = await statusOf(check, AbortSignal.any([signal, time]));
    if (isExpected(check, status)) return told(status, null);
    const expected = check.expectStatus?.join(' or ') ?? '200 to 299';
    const message = `${place} answered ${status}, expected was ${expected}`;
    return told(status, new Fault('HOOK_FAILED', message, { details: { status } }).toJSON());
  } catch (error) {
    if (signal.aborted) throw Fault.ofAbort(signal);
    if (time.aborted) {
      const message = `${place} did not answer within ${check.timeoutSeconds} seconds`;
      return told(null, new Fault('DEADLINE_EXCEEDED', message).toJSON());
    }
    return told(null, new Fault('HOOK_FAILED', `${place} cannot be asked: ${causeOf(error)}`).toJSON());
  }
};
