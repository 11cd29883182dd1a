import { context, propagation, type Context } from '@opentelemetry/api';
import { headers, type MsgHdrs } from '@nats-io/transport-node';
import { Fault, faultSchema } from '@casvault/contracts';

export const headerNames = {
  messageId: 'Nats-Msg-Id',
  deadlineMs: 'Casvault-Deadline-Ms',
  actor: 'Casvault-Actor',
  /** In a request: how often its handler is to say that it is at work; in what it says then: that this is no reply. */
  aliveMs: 'Casvault-Alive-Ms',
  /** In what a handler says then: where its process, and nobody else, answers for as long as it lives. */
  handler: 'Casvault-Handler',
  error: 'Nats-Service-Error',
  errorCode: 'Nats-Service-Error-Code',
} as const;

const setter = { set: (carrier: MsgHdrs, key: string, value: string) => carrier.set(key, value) };
const getter = {
  get: (carrier: MsgHdrs, key: string) => carrier.get(key) || undefined,
  keys: (carrier: MsgHdrs) => carrier.keys(),
};

/** Headers with the active trace. */
export const outgoingHeaders = (fields: Record<string, string | undefined> = {}): MsgHdrs => {
  const made = headers();
  propagation.inject(context.active(), made, setter);
  for (const [name, value] of Object.entries(fields)) if (value !== undefined) made.set(name, value);
  return made;
};

/** The sender's trace, as parent for the handler's. */
export const incomingContext = (received: MsgHdrs | undefined): Context =>
  received ? propagation.extract(context.active(), received, getter) : context.active();

export const faultHeaders = (fault: Fault): MsgHdrs =>
  outgoingHeaders({
    [headerNames.error]: fault.message.replace(/[^\x20-\x7e]+/g, ' ').slice(0, 256),
    [headerNames.errorCode]: fault.code,
  });

/** The fault of a reply that carries one. */
export const faultOf = (received: MsgHdrs | undefined, data: Uint8Array): Fault | null => {
  const code = received?.get(headerNames.errorCode);
  if (!code) return null;
  const parsed = faultSchema.safeParse(fromBytes(data));
  if (parsed.success) return Fault.fromJSON(parsed.data);
  return new Fault('BUG', `a peer answered with a fault unknown to this version: ${code}`, {
    details: { code },
  });
};

export const toBytes = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
/** The JSON value, or undefined where it isn't JSON: no schema accepts that. */
export const fromBytes = (data: Uint8Array): unknown => {
  try {
    return JSON.parse(new TextDecoder().decode(data)) as unknown;
  } catch {
    return undefined;
  }
};
