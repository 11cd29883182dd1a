import fc from 'fast-check';
import { z } from 'zod';
import {
  baselineOf,
  messagesOf,
  readAllowed,
  readBaseline,
  takenBy,
  type Baseline,
  type Messages,
} from './baseline.js';
import { findings, refusals, unanswered } from './compatibility.js';
import { type Json } from './json-schema.js';
import { Samples } from './samples.js';

describe('services of the last release beside present ones', () => {
  let baseline: Baseline;
  const present = messagesOf();
  beforeAll(async () => {
    baseline = await readBaseline();
  });

  it('understand each other, but for what is allowed with a reason (docs/upgrades.md)', async () => {
    expect(unanswered(findings(baseline, present), await readAllowed())).toEqual([]);
  });

  it('take any mixture of what those of the last release send, and so do they themselves', () => {
    const samples = new Samples(baseline.sent);
    const then = takenBy(baseline);
    for (const [name, schema] of Object.entries(baseline.sent.properties)) {
      const judge = (message: Json) => {
        for (const receivers of [present, then])
          expect([name, refusals(receivers.get(name) ?? z.never(), [message])]).toEqual([name, []]);
      };
      fc.assert(fc.property(samples.mixtures(schema), judge), { numRuns: 10, seed: 7 });
    }
  });

  it('have every contract: its request, reply or payload', () => {
    const names = Object.keys(baseline.sent.properties);
    expect(names.length).toBeGreaterThan(150);
    expect(Object.keys(baseline.taken.properties)).toEqual(names);
    expect(names).toEqual(
      expect.arrayContaining(['qry.scheduler.create-job.v1 request', 'evt.scheduler.run-changed.v1 payload']),
    );
  });
});

describe('a change of a message', () => {
  const name = 'qry.lab.ask.v1 request';
  const shape = {
    id: z.uuid(),
    kind: z.enum(['full', 'incremental']),
    count: z.number().int().min(1).max(10).default(3),
    note: z.string().max(100).optional(),
    parts: z.array(z.object({ target: z.string().regex(/^[a-z]{2,4}$/) })).max(4),
    step: z.discriminatedUnion('is', [
      z.object({ is: z.literal('begun'), at: z.iso.datetime() }),
      z.object({ is: z.literal('ended'), fault: z.string().nullable() }),
    ]),
  };
  const only = (schema: z.ZodType): Messages => new Map([[name, schema]]);
  const before = baselineOf('1.0', only(z.object(shape)));
  const found = (change: Record<string, z.ZodType>, gone: readonly string[] = []): string[] => {
    const changed = Object.entries({ ...shape, ...change }).filter(([key]) => !gone.includes(key));
    return findings(before, only(z.object(Object.fromEntries(changed))));
  };
  const now = `${name}: sent by 1.0, refused now: `;
  const then = `${name}: sent now, refused by 1.0: `;
  const [begun, ended] = shape.step.options;

  it.each<[string, Record<string, z.ZodType>]>([
    ['nothing', {}],
    ['a new optional field', { more: z.string().optional() }],
    ['a new field with a default', { more: z.string().default('none') }],
    ['an optional field that is always sent now', { note: z.string().max(100).default('') }],
    ['a rule in a function', { id: z.uuid().refine(() => false) }],
  ])('is taken: %s', (_, change) => expect(found(change)).toEqual([]));

  it.each<[string, Record<string, z.ZodType>, string[]]>([
    ['a new required field', { more: z.string() }, [`${now}more = nothing`]],
    ['a field that becomes required', { note: z.string().max(100) }, [`${now}note = nothing`]],
    ['a required field that becomes optional', { id: z.uuid().optional() }, [`${then}id = nothing`]],
    ['a narrowed enum', { kind: z.enum(['full']) }, [`${now}kind = "incremental"`]],
    ['a widened enum', { kind: z.enum(['full', 'incremental', 'copy']) }, [`${then}kind = "copy"`]],
    ['a narrowed range', { count: z.number().int().min(1).max(9).default(3) }, [`${now}count = 10`]],
    ['a widened range', { count: z.number().int().min(0).max(10).default(3) }, [`${then}count = 0`]],
    [
      'a shorter array',
      { parts: shape.parts.max(3) },
      [`${now}parts = [{"target":"xx"},{"target":"xx"},{"targe… (65 characters)`],
    ],
    [
      'a narrowed pattern, within an array',
      { parts: z.array(z.object({ target: z.string().regex(/^v[a-z]{1,3}$/) })).max(4) },
      [`${now}parts.*.target = "xx"`],
    ],
    [
      'another type',
      { count: z.string().default('3') },
      [`${now}count = 1`, `${now}count = 10`, `${then}count = "x"`],
    ],
    ['a null', { kind: z.enum(['full', 'incremental']).nullable() }, [`${then}kind = null`]],
    [
      'a narrowed member of a union',
      { step: z.discriminatedUnion('is', [begun, ended.extend({ fault: z.string() })]) },
      [`${now}step.fault = null`],
    ],
    [
      'a member of a union gone',
      { step: z.discriminatedUnion('is', [begun, begun.extend({ is: z.literal('held') })]) },
      [`${now}step.is = "ended"`, `${then}step.is = "held"`],
    ],
  ])('is found: %s', (_, change, wanted) => expect(found(change)).toEqual(expect.arrayContaining(wanted)));

  it('is found: a required field gone', () => {
    expect(found({}, ['kind'])).toEqual([`${then}kind = nothing`]);
  });

  it('is found: a message that is closed to unknown fields, though the other side sends none yet', () => {
    const closed = baselineOf('1.0', only(z.strictObject(shape)));
    const open = only(z.object({ ...shape, more: z.enum(['yes', 'no']).optional() }));
    expect(findings(closed, open)).toEqual([`${then}more = "yes"`, `${then}more = "no"`]);
  });

  it('is found: a message gone, or with its version used anew', () => {
    expect(findings(before, new Map())).toEqual([`${name}: is gone`]);
    expect(findings(before, only(z.object({ point: z.uuid() })))).toContain(`${then}kind = nothing`);
  });

  it('is answered for by a reason, and by nothing else', () => {
    const finding = `${then}kind = "copy"`;
    const reason = 'only sent for jobs that no service of 1.0 can have';
    expect(unanswered([finding], {})).toEqual([finding]);
    expect(unanswered([finding], { [finding]: reason })).toEqual([]);
    expect(unanswered([finding], { [finding]: 'fine' })).toEqual([`allowed without a reason: ${finding}`]);
    expect(unanswered([], { [finding]: reason })).toEqual([`allowed, but not found: ${finding}`]);
  });
});
