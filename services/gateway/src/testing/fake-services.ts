import * as contracts from '@casvault/contracts';
import { Fault, type Query } from '@casvault/contracts';
import type { z } from 'zod';
import type { Sealer, Services } from '../world.js';

/** What a scripted service was asked. */
export interface Asked {
  readonly name: string;
  readonly request: unknown;
  readonly actor: string | undefined;
}

type Answer = (request: never) => unknown;

/** Every query of the contracts, by name. */
export const queries: readonly Query[] = (Object.values(contracts) as unknown[]).filter(
  (value): value is Query =>
    typeof value === 'object' && value !== null && 'contract' in value && value.contract === 'query',
);

/** All services, scripted: requests and replies are held against the contracts, as messaging does. */
export class FakeServices implements Services {
  readonly asked: Asked[] = [];
  private readonly answers = new Map<string, Answer>();

  /** `answer` is a reply, a Fault, or a function of the request. */
  on<Req extends z.ZodType, Rep extends z.ZodType>(query: Query<Req, Rep>, answer: unknown): this {
    const script = typeof answer === 'function' ? (answer as Answer) : () => answer;
    this.answers.set(query.subject, script);
    return this;
  }

  /** The last request of that query. */
  last<Req extends z.ZodType, Rep extends z.ZodType>(query: Query<Req, Rep>): z.output<Req> | undefined {
    return this.asked.findLast(({ name }) => name === query.name)?.request as z.output<Req> | undefined;
  }

  async answer(query: Query, request: unknown, actor?: string): Promise<unknown> {
    this.asked.push({ name: query.name, request, actor });
    const script = this.answers.get(query.subject);
    if (script === undefined) throw new Fault('DEPENDENCY_UNAVAILABLE', `nobody answers ${query.subject}`);
    const reply: unknown = await script(request as never);
    if (Fault.is(reply)) throw reply;
    return reply;
  }

  async request<Req extends z.ZodType, Rep extends z.ZodType>(
    query: Query<Req, Rep>,
    payload: z.input<Req>,
    options: { actor?: string },
  ): Promise<z.output<Rep>> {
    const reply = await this.answer(query, query.request.parse(payload), options.actor);
    return query.reply.parse(reply);
  }
}

/** Seals visibly: tests tell that a secret was sealed, and which. */
export const fakeSealer: Sealer = {
  seal: (clear) => contracts.sealedSchema.parse(`sealed:v1:${Buffer.from(clear).toString('base64url')}`),
  open: (sealed) => Buffer.from(sealed.slice('sealed:v1:'.length), 'base64url').toString(),
};
