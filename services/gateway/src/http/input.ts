import { Fault, type FieldError } from '@casvault/contracts';
import { z } from 'zod';
import type { Route } from '../api/route.js';

/** INPUT_INVALID with every field that is wrong. */
export class InputFault extends Fault {
  constructor(readonly errors: readonly FieldError[]) {
    super('INPUT_INVALID', summary(errors));
  }
}

const summary = (errors: readonly FieldError[]): string =>
  errors
    .map(({ field, rule }) => `${field}: ${rule}`)
    .slice(0, 3)
    .join('; ') + (errors.length > 3 ? `; and ${errors.length - 3} more` : '');

/** A request has at most this many field errors; more help nobody. */
const maxErrors = 50;
const maxValueLength = 100;

export interface RawInput {
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
}

type Path = readonly PropertyKey[];
const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const valueAt = (input: unknown, path: Path): unknown =>
  path.reduce<unknown>(
    (value, key) =>
      typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined,
    input,
  );

/** Also a field that may be something else instead, as null. */
const isSecret = (node: unknown): boolean =>
  isRecord(node) &&
  (node['writeOnly'] === true ||
    ['anyOf', 'oneOf', 'allOf'].some((key) => Array.isArray(node[key]) && node[key].some(isSecret)));

/** Names of the fields that a schema marks `writeOnly`: their values are shown nowhere. */
export const secretFieldsOf = (schema: z.ZodType): Set<string> => {
  const found = new Set<string>();
  const walk = (node: unknown): void => {
    if (Array.isArray(node)) node.forEach(walk);
    if (!isRecord(node)) return;
    for (const [name, child] of Object.entries(isRecord(node['properties']) ? node['properties'] : {}))
      if (isSecret(child)) found.add(name);
    Object.values(node).forEach(walk);
  };
  walk(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }));
  return found;
};

/** What must not be shown of one input. */
interface Hidden {
  /** Names of fields. */
  readonly fields: Set<string>;
  /** Values that stand in such a field: one may stand in another field too, by mistake. */
  readonly values: readonly string[];
}

/** No body that is meant nests its secrets deeper. */
const maxSecretDepth = 4;

const secretValuesIn = (input: unknown, fields: Set<string>, depth = 1): string[] => {
  if (typeof input !== 'object' || input === null || depth > maxSecretDepth) return [];
  return Object.entries(input).flatMap(([name, value]) => {
    if (!fields.has(name)) return secretValuesIn(value, fields, depth + 1);
    return typeof value === 'string' && value !== '' ? [value] : [];
  });
};

/** A plain value where a plain one belongs; nothing of what should have been an object (a secret may be in it). */
const shownValue = (issue: z.core.$ZodIssue, value: unknown, hidden: Hidden): Partial<FieldError> => {
  if (issue.path.some((key) => hidden.fields.has(String(key)))) return {};
  if (issue.code === 'invalid_type' && (issue.expected === 'object' || issue.expected === 'array')) return {};
  if (hidden.values.some((secret) => String(value).includes(secret))) return {};
  if (typeof value === 'string') return { value: value.slice(0, maxValueLength) };
  return typeof value === 'number' || typeof value === 'boolean' || value === null ? { value } : {};
};

const ruleOf = (issue: z.core.$ZodIssue, value: unknown): string => {
  if (value === undefined) return 'is required';
  return issue.message
    .replace(/^Invalid input: /, '')
    .replace(/^Invalid input$/, 'is none of the allowed values');
};

const fieldName = (part: string, path: Path): string =>
  path.length === 0 ? part : path.map(String).join('.');

const fieldErrors = (part: string, issue: z.core.$ZodIssue, input: unknown, hidden: Hidden): FieldError[] => {
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({
      field: fieldName(part, [...issue.path, key]),
      rule: 'is not known here',
    }));
  const value = valueAt(input, issue.path);
  const field = fieldName(part, issue.path);
  return [{ field, rule: ruleOf(issue, value), ...shownValue(issue, value, hidden) }];
};

const check = (
  part: string,
  schema: z.ZodType,
  input: unknown,
): { output: unknown; errors: FieldError[] } => {
  const parsed = schema.safeParse(input);
  if (parsed.success) return { output: parsed.data, errors: [] };
  const fields = secretFieldsOf(schema);
  const hidden = { fields, values: secretValuesIn(input, fields) };
  return {
    output: null,
    errors: parsed.error.issues.flatMap((issue) => fieldErrors(part, issue, input, hidden)),
  };
};

const empty = z.strictObject({});

/** Parses path, query and body by the route's (closed) schemas; throws one InputFault that names every wrong field. */
export const parseInput = (
  route: Route,
  raw: RawInput,
): { params: Record<string, unknown>; query: Record<string, unknown>; body: unknown } => {
  const params = check('path', route.params ?? empty, raw.params ?? {});
  const query = check('query', route.query ?? empty, raw.query ?? {});
  const body = check('body', route.body ?? empty, raw.body ?? {});
  const errors = [...params.errors, ...query.errors, ...body.errors];
  if (errors.length > 0) throw new InputFault(errors.slice(0, maxErrors));
  return {
    params: params.output as Record<string, unknown>,
    query: query.output as Record<string, unknown>,
    body: body.output,
  };
};
