import { z } from 'zod';

/**
 * What went wrong, by who must act:
 * `user` the request is wrong; `conflict` the state of things forbids it now; `unavailable` a passing cause, worth a retry;
 * `corrupt` stored data or a peer's bytes are not what they must be, never retried automatically; `bug` ours.
 */
export const faultKinds = ['user', 'conflict', 'unavailable', 'corrupt', 'bug'] as const;
export type FaultKind = (typeof faultKinds)[number];

/** Stable, documented codes: only those that some caller or operator acts on. `CODE: kind`. */
export const faultCodes = {
  // requests
  INPUT_INVALID: 'user',
  NOT_FOUND: 'user',
  ALREADY_EXISTS: 'conflict',
  CONFLICT: 'conflict',
  IDEMPOTENCY_KEY_REUSED: 'conflict',
  UNAUTHENTICATED: 'user',
  FORBIDDEN: 'user',
  LOGIN_FAILED: 'user',
  LOGIN_THROTTLED: 'user',
  // licences, B1
  LICENCE_INVALID: 'user',
  /** What is asked for takes a feature that no valid licence has. */
  LICENCE_REQUIRED: 'user',
  // platform (CVM), C1 and C2
  PLATFORM_UNREACHABLE: 'unavailable',
  PLATFORM_LOGIN_REFUSED: 'user',
  PLATFORM_NOT_ADMINISTRATOR: 'user',
  PLATFORM_CERTIFICATE_INVALID: 'user',
  PLATFORM_VERSION_UNSUPPORTED: 'user',
  PLATFORM_PROTOCOL: 'unavailable',
  PLATFORM_REFUSED: 'conflict',
  PLATFORM_TASK_FAILED: 'conflict',
  PLATFORM_BUSY: 'unavailable',
  // virtual machines and captures
  VM_NOT_FOUND: 'user',
  VM_STATE_REFUSED: 'conflict',
  CAPTURE_REFUSED: 'conflict',
  CAPTURE_LOST: 'unavailable',
  /** No valid CBT, and the job says to skip such VMs (`cbt.fallback`). */
  CBT_INVALID: 'conflict',
  // disk service and NBD
  DISK_SERVICE_UNREACHABLE: 'unavailable',
  DISK_SERVICE_REFUSED: 'conflict',
  DISK_SERVICE_UNAUTHORISED: 'user',
  NBD_PROTOCOL: 'unavailable',
  NBD_DISCONNECTED: 'unavailable',
  NBD_IO: 'unavailable',
  /** The server refuses the export as asked: unknown name, TLS demanded, denied or failed. */
  NBD_REFUSED: 'conflict',
  LIBVIRT_FAILED: 'conflict',
  // pools
  POOL_UNREACHABLE: 'unavailable',
  POOL_ACCESS_DENIED: 'user',
  POOL_FULL: 'conflict',
  POOL_OBJECT_MISSING: 'corrupt',
  POOL_OBJECT_EXISTS: 'conflict',
  POOL_OBJECT_DAMAGED: 'corrupt',
  POOL_FORMAT_UNSUPPORTED: 'user',
  POOL_KEY_WRONG: 'user',
  /** A point or chain that is read, extended, held or depended on (G2). */
  POINT_IN_USE: 'conflict',
  POINT_HELD: 'conflict',
  // preconditions and scripts of runs, on backup hosts
  /** It cannot be run as it is named: no script folder, no such script, not allowed. */
  HOOK_REFUSED: 'user',
  HOOK_FAILED: 'conflict',
  // work
  LEASE_LOST: 'conflict',
  /** Its host knows that the item has ended: nothing is written for it again, whatever the databases say of it. */
  ITEM_ENDED: 'conflict',
  STOPPED: 'user',
  DEADLINE_EXCEEDED: 'unavailable',
  DEPENDENCY_UNAVAILABLE: 'unavailable',
  BUG: 'bug',
} as const satisfies Record<string, FaultKind>;
export type FaultCode = keyof typeof faultCodes;

export type FaultDetails = Record<string, string | number | boolean | null>;

/** A fault as it crosses a process border: no stack, no cause, never a secret. */
export const faultSchema = z.object({
  code: z.enum(Object.keys(faultCodes) as [FaultCode, ...FaultCode[]]),
  message: z.string(),
  details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])).default({}),
});
export type FaultJson = z.infer<typeof faultSchema>;

/**
 * The one error of the product. `message` is for people (names the field, the rule and the value, never a secret),
 * `code` for programs. The kind follows from the code: retryability is decided where the fault is born.
 */
export class Fault extends Error {
  override readonly name = 'Fault';
  readonly code: FaultCode;
  readonly details: FaultDetails;

  constructor(code: FaultCode, message: string, options: { details?: FaultDetails; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
  }

  get kind(): FaultKind {
    return faultCodes[this.code];
  }

  toJSON(): FaultJson {
    return { code: this.code, message: this.message, details: this.details };
  }

  static fromJSON(json: FaultJson): Fault {
    return new Fault(json.code, json.message, { details: json.details });
  }

  /** Why an aborted operation ended: the signal's reason when it is a Fault, DEADLINE_EXCEEDED for a time-out, else STOPPED. */
  static ofAbort(signal: AbortSignal): Fault {
    const reason: unknown = signal.reason;
    if (Fault.is(reason)) return reason;
    const named = typeof reason === 'object' && reason !== null && 'name' in reason ? reason.name : null;
    const timedOut = named === 'TimeoutError';
    return timedOut
      ? new Fault('DEADLINE_EXCEEDED', 'the operation ran out of time', { cause: reason })
      : new Fault('STOPPED', 'the operation was stopped', { cause: reason });
  }

  /** Survives duplicate copies of this package, unlike `instanceof`. */
  static is(error: unknown): error is Fault {
    return error instanceof Error && error.name === 'Fault' && 'code' in error && 'kind' in error;
  }

  /** Any thrown value as a Fault: faults pass through, everything else becomes a `BUG` with its cause kept. */
  static from(error: unknown): Fault {
    if (Fault.is(error)) return error;
    const message = error instanceof Error ? error.message : String(error);
    return new Fault('BUG', `unexpected: ${message}`, { cause: error });
  }
}
