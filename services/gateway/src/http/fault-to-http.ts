import type { FaultCode } from '@casvault/contracts';

/** How a fault shows over HTTP. `retryAfterSeconds`: sent as Retry-After unless the fault says better. */
export interface HttpFault {
  readonly status: number;
  readonly title: string;
  readonly retryAfterSeconds?: number;
}

/**
 * The one table from fault codes to HTTP. 400: the request breaks a rule; 401/403: who asks; 404; 409: the state of things
 * forbids it now; 422: well formed, but what it names (a platform, a pool, an earlier request) refuses it; 429; 500: ours, or
 * damaged data; 502: a system beyond us failed; 503: a part of ours does not answer, worth a retry.
 * Titles do not change: details are for `detail`.
 */
export const httpFaults: Readonly<Record<FaultCode, HttpFault>> = {
  INPUT_INVALID: { status: 400, title: 'The request breaks a rule' },
  NOT_FOUND: { status: 404, title: 'There is no such thing' },
  ALREADY_EXISTS: { status: 409, title: 'It exists already' },
  CONFLICT: { status: 409, title: 'Not possible in the present state' },
  IDEMPOTENCY_KEY_REUSED: { status: 422, title: 'The idempotency key was used for another request' },
  UNAUTHENTICATED: { status: 401, title: 'Sign in first' },
  FORBIDDEN: { status: 403, title: 'Not allowed for this caller' },
  LOGIN_FAILED: { status: 401, title: 'Sign-in failed' },
  LOGIN_THROTTLED: { status: 429, title: 'Too many failed sign-ins', retryAfterSeconds: 60 },
  LICENCE_INVALID: { status: 422, title: 'The licence is not valid' },
  LICENCE_REQUIRED: { status: 422, title: 'A licence with this feature is needed' },
  PLATFORM_UNREACHABLE: { status: 502, title: 'The platform cannot be reached' },
  PLATFORM_LOGIN_REFUSED: { status: 422, title: 'The platform refused the user name or password' },
  PLATFORM_NOT_ADMINISTRATOR: { status: 422, title: 'The platform user is no system administrator' },
  PLATFORM_CERTIFICATE_INVALID: { status: 422, title: "The platform's certificate is not trusted" },
  PLATFORM_VERSION_UNSUPPORTED: { status: 422, title: 'The platform version is not supported' },
  PLATFORM_PROTOCOL: { status: 502, title: 'The platform gave an answer that is not understood' },
  PLATFORM_REFUSED: { status: 409, title: 'The platform refused the operation' },
  PLATFORM_TASK_FAILED: { status: 409, title: 'A task of the platform failed' },
  PLATFORM_BUSY: { status: 503, title: 'The platform is busy', retryAfterSeconds: 10 },
  VM_NOT_FOUND: { status: 404, title: 'There is no such virtual machine' },
  VM_STATE_REFUSED: { status: 409, title: 'Not possible in the present state of the virtual machine' },
  CAPTURE_REFUSED: { status: 409, title: 'The virtual machine cannot be captured' },
  CAPTURE_LOST: { status: 503, title: 'The capture was lost', retryAfterSeconds: 10 },
  DISK_SERVICE_UNREACHABLE: { status: 502, title: 'The disk service cannot be reached' },
  DISK_SERVICE_REFUSED: { status: 409, title: 'The disk service refused the operation' },
  DISK_SERVICE_UNAUTHORISED: { status: 422, title: 'The disk service refused the token' },
  NBD_PROTOCOL: { status: 502, title: 'The disk connection broke the protocol' },
  NBD_REFUSED: { status: 502, title: 'The disk connection was refused' },
  NBD_DISCONNECTED: { status: 502, title: 'The disk connection was lost' },
  NBD_IO: { status: 502, title: 'The disk reported an I/O error' },
  LIBVIRT_FAILED: { status: 409, title: 'The hypervisor refused the operation' },
  POOL_UNREACHABLE: { status: 502, title: 'The storage pool cannot be reached' },
  POOL_ACCESS_DENIED: { status: 422, title: 'The storage pool denied access' },
  POOL_FULL: { status: 409, title: 'The storage pool is full' },
  POOL_OBJECT_MISSING: { status: 500, title: 'An object is missing in the storage pool' },
  POOL_OBJECT_EXISTS: { status: 409, title: 'The object exists already in the storage pool' },
  POOL_OBJECT_DAMAGED: { status: 500, title: 'An object in the storage pool is damaged' },
  POOL_FORMAT_UNSUPPORTED: { status: 422, title: 'The format of the storage pool is not supported' },
  POINT_IN_USE: { status: 409, title: 'The point or chain is in use' },
  POINT_HELD: { status: 409, title: 'The point or chain is held' },
  CBT_INVALID: { status: 409, title: 'No valid changed block tracking' },
  POOL_KEY_WRONG: { status: 422, title: 'The key does not open the storage pool' },
  HOOK_REFUSED: { status: 422, title: 'The precondition or script cannot be run' },
  HOOK_FAILED: { status: 409, title: 'The precondition or script failed' },
  LEASE_LOST: { status: 409, title: 'Another worker has taken over' },
  ITEM_ENDED: { status: 409, title: 'The item has ended already' },
  STOPPED: { status: 409, title: 'It was stopped' },
  DEADLINE_EXCEEDED: { status: 503, title: 'A service did not answer in time', retryAfterSeconds: 5 },
  DEPENDENCY_UNAVAILABLE: { status: 503, title: 'A service does not answer', retryAfterSeconds: 5 },
  BUG: { status: 500, title: 'Internal error' },
};
