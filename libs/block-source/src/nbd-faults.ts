import { isNativeError } from 'node:util/types';
import { Fault, type FaultDetails } from '@casvault/contracts';
import { errnoName } from './nbd-wire.js';

/** The peer broke the protocol: the connection can't be trusted any more. */
export const protocolFault = (what: string): Fault => new Fault('NBD_PROTOCOL', `NBD protocol: ${what}`);

/** The server answered a request with an error. */
export const ioFault = (what: string, errno: number, offset: number, text: string): Fault => {
  const details: FaultDetails = { errno: errnoName(errno), offset };
  const said = text === '' ? '' : `: ${text}`;
  return new Fault('NBD_IO', `NBD ${what} at offset ${offset} failed with ${errnoName(errno)}${said}`, {
    details,
  });
};

/** The transport ended. */
export const disconnectedFault = (peer: string, cause?: unknown): Fault => {
  const why = isNativeError(cause) ? `: ${cause.message}` : '';
  return new Fault('NBD_DISCONNECTED', `NBD connection to ${peer} was lost${why}`, { cause });
};

/** The caller asked for something outside the disk, its alignment or what was agreed with the server. */
export const requestFault = (what: string): Fault => new Fault('INPUT_INVALID', `NBD request: ${what}`);
