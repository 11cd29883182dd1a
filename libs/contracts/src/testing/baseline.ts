import { readFile, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { contentTicketSchema, transferNudgeSchema } from '../data-mover.js';
import { type Command, type Event, type Query } from '../define.js';
import {
  checkpointSchema,
  endedItemSchema,
  healthSchema,
  openingSchema,
  openRequestSchema,
} from '../disk-service.js';
import { faultSchema } from '../fault.js';
import * as contracts from '../index.js';
import { type SchemaSet } from './json-schema.js';

/** What crosses the border of a process, by name: `qry.scheduler.get-job.v1 request`, `… reply`, `evt.scheduler.run-changed.v1 payload`. */
export type Messages = ReadonlyMap<string, z.ZodType>;

/**
 * The messages of a release, as JSON Schema. `sent`: what its services put on the wire (messaging parses before it sends: defaults are filled
 * in, unknown fields are gone). `taken`: what they accept from it. Rules that zod keeps in functions (refinements) are in neither.
 */
export interface Baseline {
  readonly release: string;
  readonly sent: SchemaSet;
  readonly taken: SchemaSet;
}

const file = new URL('../../../baseline/contracts.json', import.meta.url);
const allowedFile = new URL('../../../baseline/allowed.json', import.meta.url);

const isContract = (value: unknown): value is Query | Command | Event =>
  typeof value === 'object' && value !== null && 'contract' in value && 'subject' in value;

/** All messages of these contracts, and what else is sent in none of them. */
export const messagesOf = (exports: Readonly<Record<string, unknown>> = contracts): Messages => {
  const messages = new Map<string, z.ZodType>([
    ['fault of a reply', faultSchema],
    ['work.<group> nudge', transferNudgeSchema],
    ['ticket of a download', contentTicketSchema],
    ['disk-service PUT opening request', openRequestSchema],
    ['disk-service opening reply', openingSchema],
    ['disk-service checkpoint reply', checkpointSchema],
    ['disk-service ended item reply', endedItemSchema],
    ['disk-service health reply', healthSchema],
  ]);
  for (const contract of Object.values(exports).filter(isContract)) {
    if (contract.contract === 'query') {
      messages.set(`${contract.subject} request`, contract.request);
      messages.set(`${contract.subject} reply`, contract.reply);
    } else messages.set(`${contract.subject} payload`, contract.payload);
  }
  return new Map([...messages].sort(([left], [right]) => (left < right ? -1 : 1)));
};

/** The exported schemas, so that what many messages have is written once, under its own name. */
const schemaNames = (): z.core.$ZodRegistry<{ id: string }> => {
  const names = z.registry<{ id: string }>();
  for (const [name, value] of Object.entries(contracts))
    if (value instanceof z.ZodType && !names.has(value)) names.add(value, { id: name });
  return names;
};

type Mutable = Record<string, unknown>;
/**
 * A pattern says all that its format does, and exactly; but JSON Schema has no flags, and without them classes of Unicode mean something else. A
 * member of `allOf` keeps the type that it is read by.
 */
const tidy = (schema: Mutable): void => {
  if (typeof schema['pattern'] === 'string' && /\\p\{/i.test(schema['pattern'])) delete schema['pattern'];
  if (schema['pattern'] !== undefined) delete schema['format'];
  if (schema['type'] === 'string' && Array.isArray(schema['allOf']))
    for (const member of schema['allOf'] as Mutable[]) member['type'] = 'string';
};

const schemasOf = (messages: Messages, io: 'input' | 'output'): SchemaSet => {
  const set = z.toJSONSchema(z.object(Object.fromEntries(messages)), {
    io,
    metadata: schemaNames(),
    override: ({ jsonSchema }) => {
      tidy(jsonSchema);
      // Zod strips what it does not know: it is not sent, and it does not close what is taken.
      if (io === 'output' && jsonSchema.additionalProperties === false)
        delete jsonSchema.additionalProperties;
    },
  });
  for (const schema of Object.values(set.$defs ?? {})) delete schema.id;
  return JSON.parse(JSON.stringify(set)) as SchemaSet;
};

/** These messages, as the next release will be held against them. */
export const baselineOf = (release: string, messages: Messages): Baseline => ({
  release,
  sent: schemasOf(messages, 'output'),
  taken: schemasOf(messages, 'input'),
});

/** The messages of the last release. */
export const readBaseline = async (): Promise<Baseline> =>
  JSON.parse(await readFile(file, 'utf8')) as Baseline;

/** What is known not to fit the last release and does no harm: the finding, and why. */
export const readAllowed = async (): Promise<Readonly<Record<string, string>>> =>
  JSON.parse(await readFile(allowedFile, 'utf8')) as Record<string, string>;

/** The present messages become those of the last release, and nothing is excused any more. */
export const renewBaseline = async (release: string): Promise<void> => {
  await writeFile(file, `${JSON.stringify(baselineOf(release, messagesOf()), null, 1)}\n`);
  await writeFile(allowedFile, '{}\n');
};

/** How that release reads each message: unknown fields pass, as they do where zod strips them; defaults are filled in. */
export const takenBy = ({ taken }: Baseline): Messages => {
  const set = z.fromJSONSchema(taken as z.core.JSONSchema.JSONSchema, { registry: z.registry() });
  if (!(set instanceof z.ZodObject)) throw new Error('the baseline is no set of messages');
  return new Map(Object.entries(set.shape));
};

/** Makes of a present contract the one that a service of that release has. */
export const contractsOf = (baseline: Baseline): (<C extends Query | Command | Event>(contract: C) => C) => {
  const taken = takenBy(baseline);
  const of = ({ subject }: Query | Command | Event, part: string): z.ZodType => {
    const schema = taken.get(`${subject} ${part}`);
    if (schema === undefined) throw new Error(`${baseline.release} has no ${subject} ${part}`);
    return schema;
  };
  return (contract) =>
    contract.contract === 'query'
      ? { ...contract, request: of(contract, 'request'), reply: of(contract, 'reply') }
      : { ...contract, payload: of(contract, 'payload') };
};
