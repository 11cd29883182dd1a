import { type z } from 'zod';
import { baselineOf, takenBy, type Baseline, type Messages } from './baseline.js';
import { type Json, type SchemaSet } from './json-schema.js';
import { Samples } from './samples.js';

type Issue = z.core.$ZodIssue;

/**
 * Where a receiver takes offence at the shape of a message. Rules in functions (code `custom`) are left out: samples, which know nothing
 * of them, break them by chance. Of a union it is told by the member that comes nearest.
 */
const offences = (issues: readonly Issue[], above: readonly PropertyKey[] = []): PropertyKey[][] =>
  issues.flatMap((issue) => {
    const path = [...above, ...issue.path];
    if (issue.code === 'custom') return [];
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => [...path, key]);
    if (issue.code !== 'invalid_union' || issue.errors.length === 0) return [path];
    const members = issue.errors.map((errors) => offences(errors, path));
    return members.reduce((nearest, member) => (member.length < nearest.length ? member : nearest));
  });

const valueAt = (sample: Json, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>(
    (here, key) =>
      typeof here === 'object' && here !== null ? (here as Record<PropertyKey, unknown>)[key] : undefined,
    sample,
  );

const shown = (value: unknown): string => {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 40)}… (${text.length} characters)` : text;
};

const place = (path: readonly PropertyKey[]): string =>
  path.length === 0
    ? 'the whole'
    : path.map((key) => (typeof key === 'number' ? '*' : String(key))).join('.');

/** What a receiver refuses of a message, each place with the value once: `items.*.state = "skipped"`. */
export const refusals = (receiver: z.ZodType, samples: Iterable<Json>): string[] => {
  const found = new Set<string>();
  for (const sample of samples) {
    const result = receiver.safeParse(sample);
    if (result.success) continue;
    for (const path of offences(result.error.issues))
      found.add(`${place(path)} = ${shown(valueAt(sample, path))}`);
  }
  return [...found];
};

const refused = (sent: SchemaSet, receivers: Messages, told: string): string[] => {
  const samples = new Samples(sent);
  return Object.entries(sent.properties).flatMap(([name, schema]) => {
    const receiver = receivers.get(name);
    if (receiver === undefined) return [];
    return refusals(receiver, samples.of(schema)).map((refusal) => `${name}: ${told}: ${refusal}`);
  });
};

/**
 * Everything by which services of the last release and present ones fail side by side: what is sent by one and refused by the other, in both
 * directions, and messages that are gone. A message that is new is nobody's yet.
 */
export const findings = (baseline: Baseline, present: Messages): string[] => {
  const gone = Object.keys(baseline.sent.properties).filter((name) => !present.has(name));
  return [
    ...gone.map((name) => `${name}: is gone`),
    ...refused(baseline.sent, present, `sent by ${baseline.release}, refused now`),
    ...refused(
      baselineOf('present', present).sent,
      takenBy(baseline),
      `sent now, refused by ${baseline.release}`,
    ),
  ];
};

/** Findings that nobody answers for, and excuses of what is not found. */
export const unanswered = (found: readonly string[], allowed: Readonly<Record<string, string>>): string[] => [
  ...found.filter((finding) => allowed[finding] === undefined),
  ...Object.entries(allowed).flatMap(([finding, reason]) => {
    if (!found.includes(finding)) return [`allowed, but not found: ${finding}`];
    return reason.length < 20 ? [`allowed without a reason: ${finding}`] : [];
  }),
];
