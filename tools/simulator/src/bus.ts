import {
  Fault,
  faultCodes,
  type Command,
  type Event,
  type Query,
  type TransferId,
} from '@casvault/contracts';
import { type Handler, type MessageContext, type Messenger } from '@casvault/messaging';
import { type z } from 'zod';
import { type Edge, type SimProcess } from './process.js';
import { type World } from './world.js';

/** A process that takes messages. */
export interface Subscriber {
  readonly process: SimProcess;
  readonly service: string;
  readonly handlers: ReadonlyMap<string, Handler>;
}
interface Message {
  readonly subject: string;
  readonly payload: unknown;
  readonly messageId: string;
  readonly service: string;
}
interface Mover {
  readonly process: SimProcess;
  readonly hasRoom: () => boolean;
  readonly take: (transferId: TransferId) => Promise<void>;
}

const storing = (subject: string): Edge => ({
  name: subject,
  fault: 'requests',
  code: 'DEPENDENCY_UNAVAILABLE',
});
const redeliverMs = 30_000;
const defaultDeadlineMs = 10_000;

/** NATS as the services use it: queries with deadlines, stored commands and events that come at least once, and nudges. */
export class Bus {
  readonly #world: World;
  #subscribers: Subscriber[] = [];
  #movers: Mover[] = [];
  readonly #stored = new Set<string>();

  constructor(world: World) {
    this.#world = world;
  }

  subscribe(subscriber: Subscriber): void {
    this.#subscribers = [...this.#subscribers.filter(({ process }) => process.isAlive), subscriber];
  }
  consumeNudges(mover: Mover): void {
    this.#movers = [...this.#movers.filter(({ process }) => process.isAlive), mover];
  }

  clientOf(process: SimProcess): Messenger {
    return {
      request: (query, payload, options) => this.#request(process, query, payload, options),
      send: (command, payload, { messageId }) => this.#store(process, command, payload, messageId),
      publish: (event, payload, { messageId }) => this.#store(process, event, payload, messageId),
    };
  }

  async publishNudge(process: SimProcess, transferId: TransferId): Promise<void> {
    await process.call(storing('nudge'), () => this.#post(() => this.#nudge(transferId)));
  }

  async #request<Req extends z.ZodType, Rep extends z.ZodType>(
    process: SimProcess,
    query: Query<Req, Rep>,
    payload: z.input<Req>,
    { deadlineMs = defaultDeadlineMs }: { deadlineMs?: number; signal?: AbortSignal } = {},
  ): Promise<z.output<Rep>> {
    const request = parsed(query.request, payload, query.subject);
    const edge: Edge = {
      name: query.subject,
      fault: 'requests',
      code: 'DEADLINE_EXCEEDED',
      timeoutMs: deadlineMs,
    };
    const reply = await process.call(edge, () => this.#answer(query, request, deadlineMs));
    if ('fault' in reply) throw Fault.fromJSON(reply.fault.toJSON());
    return parsed(query.reply, reply.value, query.subject);
  }

  /** The answer of one live process of the owner, its fault, or nothing in time. */
  async #answer(
    { subject, owner }: Query,
    request: unknown,
    deadlineMs: number,
  ): Promise<{ value: unknown } | { fault: Fault }> {
    const { time, random } = this.#world;
    const there = this.#subscribers.filter(
      ({ process, service, handlers }) => process.isAlive && service === owner && handlers.has(subject),
    );
    const chosen = random.pick(there);
    return new Promise((resolve) => {
      const code = chosen ? 'DEADLINE_EXCEEDED' : 'DEPENDENCY_UNAVAILABLE';
      const deadline = new AbortController();
      const over = () => {
        deadline.abort();
        resolve({ fault: new Fault(code, `${subject} was not answered`) });
      };
      const cancel = time.after(chosen ? deadlineMs : Math.min(2_000, deadlineMs), over);
      if (!chosen) return;
      const { process, handlers } = chosen;
      process.enter(() => {
        this.#world.trace(process.name, `answers ${subject}`);
        const context = { ...contextOf(subject, subject, 1), signal: deadline.signal };
        void run(handlers.get(subject), request, context).then((outcome) => {
          if (!process.isAlive) return;
          cancel();
          this.#expect('fault' in outcome ? outcome.fault : null, subject);
          resolve(outcome);
        });
      });
    });
  }

  async #store(
    process: SimProcess,
    contract: Command | Event,
    payload: unknown,
    messageId: string,
  ): Promise<void> {
    const body = parsed(contract.payload, payload, contract.subject);
    await process.call(storing(contract.subject), () => {
      const key = `${contract.subject} ${messageId}`;
      if (this.#stored.has(key)) return;
      this.#stored.add(key);
      for (const service of this.#interested(contract)) {
        const message: Message = { subject: contract.subject, payload: body, messageId, service };
        this.#post(() => this.#deliver(message, 1));
      }
    });
  }

  #interested({ contract, owner, subject }: Command | Event): readonly string[] {
    if (contract === 'command') return [owner];
    const services = this.#subscribers.filter(({ handlers }) => handlers.has(subject));
    return [...new Set(services.map(({ service }) => service))];
  }

  /** On its way: lost, late, doubled, or in time. */
  #post(deliver: () => void): void {
    const { faults, time, random } = this.#world;
    if (faults.strikes('lost messages')) return;
    const copies = faults.strikes('doubled messages') ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      const late = faults.strikes('late messages') ? faults.of('late messages').whole(100, 60_000) : 0;
      time.after(late + random.whole(1, 20), deliver);
    }
  }

  #deliver(message: Message, attempt: number): void {
    const { time, random } = this.#world;
    const { subject, service, messageId } = message;
    const there = this.#subscribers.filter((one) => one.process.isAlive && one.service === service);
    const chosen = random.pick(there);
    if (!chosen) return void time.after(500, () => this.#deliver(message, attempt));
    const { process, handlers } = chosen;
    let isSettled = false;
    time.after(redeliverMs, () => {
      if (!isSettled && !process.isAlive) this.#deliver(message, attempt + 1);
    });
    process.enter(() => {
      if (this.#world.isTraced) this.#world.trace(process.name, `gets ${subject} ${told(message.payload)}`);
      void run(handlers.get(subject), message.payload, contextOf(subject, messageId, attempt)).then(
        (outcome) => {
          if (!process.isAlive) return;
          isSettled = true;
          if (!('fault' in outcome)) return;
          this.#expect(outcome.fault, subject);
          if (outcome.fault.kind !== 'unavailable') return;
          const delayMs = Math.min(15_000, 250 * 2 ** Math.min(attempt - 1, 16));
          time.after(delayMs, () => this.#deliver(message, attempt + 1));
        },
      );
    });
  }

  #nudge(transferId: TransferId): void {
    const { time, random } = this.#world;
    const there = this.#movers.filter(({ process, hasRoom }) => process.isAlive && hasRoom());
    const chosen = random.pick(there);
    if (!chosen) return void time.after(1_000, () => this.#nudge(transferId));
    const { process, take } = chosen;
    let isSettled = false;
    time.after(redeliverMs, () => {
      if (!isSettled && !process.isAlive) this.#nudge(transferId);
    });
    const settle = (again: boolean) => {
      if (!process.isAlive) return;
      isSettled = true;
      if (again) time.after(1_000, () => this.#nudge(transferId));
    };
    process.enter(() => {
      take(transferId).then(
        () => settle(false),
        (error: unknown) => {
          const fault = Fault.from(error);
          this.#expect(fault, 'nudge');
          settle(fault.kind === 'unavailable');
        },
      );
    });
  }

  /** Nothing that happens here may show a bug of ours. */
  #expect(fault: Fault | null, subject: string): void {
    if (fault) this.#world.trace('bus', `${subject}: ${fault.code} ${fault.message}`);
    const isBug = fault !== null && faultCodes[fault.code] === 'bug';
    this.#world.require(
      !isBug,
      () => `${subject} met a bug: ${fault?.message ?? ''} ${String(fault?.cause)}`,
    );
  }
}

const told = (payload: unknown): string => {
  const { state, phase, transferId, itemId, pointId } = payload as Record<string, unknown>;
  return [transferId ?? itemId ?? pointId, state ?? phase].filter(Boolean).join(' ');
};

const idle = new AbortController().signal;
const contextOf = (subject: string, messageId: string, attempt: number): MessageContext => ({
  subject,
  messageId,
  attempt,
  actor: null,
  signal: idle,
});

const run = async (
  handler: Handler | undefined,
  payload: unknown,
  context: MessageContext,
): Promise<{ value: unknown } | { fault: Fault }> => {
  if (!handler) return { fault: new Fault('BUG', `nobody handles ${context.subject}`) };
  try {
    return { value: await handler.handle(payload, context) };
  } catch (error) {
    return { fault: Fault.from(error) };
  }
};

const parsed = <T extends z.ZodType>(schema: T, value: unknown, subject: string): z.output<T> => {
  const { success, data, error } = schema.safeParse(value);
  if (success) return data;
  throw new Fault('BUG', `${subject}: ${error.message}`);
};
