import { Fault } from '@casvault/contracts';
import { type CasReply } from './http-transport.js';
import { decodeHeaderText, isBusyText, isPermissionText } from './platform-text.js';
import { type Wire } from './wire.js';

const refused = (code: string, message: string, what: string): Fault => {
  const details = { platformCode: code, platformMessage: message };
  if (isBusyText(message))
    return new Fault('PLATFORM_BUSY', `the CVM is busy and refuses to ${what}: ${message}`, { details });
  if (isPermissionText(message)) {
    return new Fault(
      'PLATFORM_NOT_ADMINISTRATOR',
      `the account may not ${what}: a system administrator of the CVM is needed (${message})`,
      { details },
    );
  }
  // 1001: no such virtual machine.
  if (code === '1001') return new Fault('VM_NOT_FOUND', `the CVM knows no such VM: ${message}`, { details });
  return new Fault('PLATFORM_REFUSED', `the CVM refuses to ${what}: ${message} (error ${code})`, { details });
};

/** What a status other than 2xx means; `what` completes "the CVM refuses to ...". */
export const statusFault = (reply: CasReply, what: string): Fault => {
  const code = reply.headers['error-code'];
  if (reply.status === 409 || (code !== undefined && reply.status !== 401)) {
    return refused(code ?? 'none', decodeHeaderText(reply.headers['error-message'] ?? ''), what);
  }
  const details = { status: reply.status };
  switch (reply.status) {
    case 401:
      return new Fault('PLATFORM_LOGIN_REFUSED', 'the CVM refuses the user name or the password', {
        details,
      });
    case 403:
      return new Fault(
        'PLATFORM_NOT_ADMINISTRATOR',
        `the account may not ${what}: a system administrator of the CVM is needed`,
        { details },
      );
    case 404:
      return new Fault('NOT_FOUND', `the CVM finds nothing to ${what}`, { details });
    case 429:
    case 503:
      return new Fault('PLATFORM_BUSY', `the CVM cannot ${what} now (status ${reply.status})`, { details });
    default:
      return new Fault('PLATFORM_PROTOCOL', `the CVM answered status ${reply.status} to: ${what}`, {
        details,
      });
  }
};

const scalar = (value: Wire | undefined): string =>
  typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : '';

/** Some calls answer 200 with an `errorCode` in the body (storage add and delete): that is a refusal too. */
export const bodyFault = (body: Wire, what: string): Fault | null => {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return null;
  const code = scalar(body['errorCode']);
  if (code === '' || code === '0') return null;
  return refused(code, scalar(body['message']) || scalar(body['failureMessage']) || 'no reason given', what);
};
