import { type Fault } from '@casvault/contracts';

/**
 * What to do about a fault in the middle of a transfer:
 * `recapture` the capture is gone; `look` the disk is silent or strange: its disk service knows whether the opening still
 * stands; `wait` the trouble lies outside and may pass; `fail` trying again changes nothing.
 */
export type Remedy = 'recapture' | 'look' | 'wait' | 'fail';

export const remedyFor = ({ code }: Fault): Remedy => {
  switch (code) {
    case 'CAPTURE_LOST':
      return 'recapture';
    case 'NBD_DISCONNECTED':
    case 'NBD_PROTOCOL':
    case 'NBD_IO':
    case 'NBD_REFUSED':
      return 'look';
    case 'DISK_SERVICE_UNREACHABLE':
    case 'POOL_UNREACHABLE':
    case 'DEPENDENCY_UNAVAILABLE':
    case 'DEADLINE_EXCEEDED':
      return 'wait';
    default:
      return 'fail';
  }
};

/** A server that is there and refuses will refuse again; all else about a standing opening may pass. */
export const remedyWhileOpen = ({ code }: Fault): 'wait' | 'fail' =>
  code === 'NBD_REFUSED' ? 'fail' : 'wait';
