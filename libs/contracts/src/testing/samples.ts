import fc from 'fast-check';
import { type Json, type JsonSchema } from './json-schema.js';

/** Strings that patterns of this product ask for and that are hard to guess. */
const known: readonly string[] = [
  '0197f0a0-1b2c-7d3e-8f40-112233445566',
  '2026-01-31T23:59:59Z',
  '2026-01-31T23:59:59.123Z',
  '2026-01-31T23:59',
  '2026-02-28',
  'backup@example.org',
  'Europe/Berlin',
];
const formats: Readonly<Record<string, readonly string[]>> = {
  uri: ['https://store.example.org:9000/a'],
  password: ['secret'],
};

const stringsOf = (schema: JsonSchema): string[] => {
  const { minLength = 0, maxLength = Math.max(300, minLength), format, pattern, allOf = [] } = schema;
  const patterns = [pattern, ...allOf.map((one) => one.pattern)].flatMap((one) =>
    one === undefined ? [] : [new RegExp(one)],
  );
  const fits = (text: string): boolean =>
    text.length >= minLength && text.length <= maxLength && patterns.every((one) => one.test(text));
  const lengths = [Math.max(1, minLength), minLength, 2, 4, maxLength].map((length) => 'x'.repeat(length));
  const plain = format === undefined ? [...(patterns.length > 0 ? known : []), ...lengths] : formats[format];
  const found = (plain ?? []).filter(fits);
  if (found.length > 0) return [...new Set(found)];
  const guessed = patterns
    .flatMap((one) => fc.sample(fc.stringMatching(one), { numRuns: 50, seed: 1 }))
    .filter(fits);
  if (guessed.length === 0) throw new Error(`no sample for ${JSON.stringify(schema)}`);
  const sorted = guessed.sort((left, right) => left.length - right.length);
  return [...new Set([sorted[0] ?? '', sorted.at(-1) ?? ''])];
};

const numbersOf = (schema: JsonSchema): number[] => {
  const { type, minimum = -1e6, maximum = 1e12, exclusiveMinimum, exclusiveMaximum } = schema;
  const step = type === 'integer' ? 1 : 0.125;
  const least = exclusiveMinimum === undefined ? minimum : exclusiveMinimum + step;
  const most = exclusiveMaximum === undefined ? maximum : exclusiveMaximum - step;
  return [...new Set([least, most])];
};

/** The members of a union; null: it is none. */
const optionsOf = (schema: JsonSchema): readonly JsonSchema[] | null => {
  const { type } = schema;
  if (typeof type === 'object') return type.map((one) => ({ ...schema, type: one }));
  return schema.anyOf ?? schema.oneOf ?? null;
};

/** Of what has no parts: every value of a closed set, else the ends of its range. */
const leavesOf = (schema: JsonSchema): readonly Json[] => {
  if (schema.const !== undefined) return [schema.const];
  if (schema.enum !== undefined) return schema.enum;
  switch (schema.type) {
    case 'null':
      return [null];
    case 'boolean':
      return [true, false];
    case 'integer':
    case 'number':
      return numbersOf(schema);
    case 'string':
      return stringsOf(schema);
    case undefined:
      return ['anything', 7, null];
    default:
      throw new Error(`${String(schema.type)} has parts`);
  }
};

type Tree = Readonly<Record<string, Json>>;
const without = (tree: Tree, keys: readonly string[]): Tree =>
  Object.fromEntries(Object.entries(tree).filter(([key]) => !keys.includes(key)));

/** Messages that a set of schemas allows. Memory: one shallow copy of its object for each value of each field. */
export class Samples {
  readonly #root: JsonSchema;
  readonly #known = new Map<string, readonly Json[]>();
  readonly #mixtures = new Map<string, fc.Arbitrary<Json>>();

  constructor(root: JsonSchema) {
    this.#root = root;
  }

  /**
   * Finite and complete for one change at a time: all fields there; only the required ones; each optional field left out, and alone; and
   * each value of each field, with the rest as in the first. Arrays are tried empty or as short, and as long, as they may be.
   */
  of(schema: JsonSchema): readonly Json[] {
    if (schema.$ref !== undefined) {
      const found = this.#known.get(schema.$ref) ?? this.of(this.#resolve(schema.$ref));
      this.#known.set(schema.$ref, found);
      return found;
    }
    const options = optionsOf(schema);
    if (options !== null) return options.flatMap((option) => this.of(option));
    if (schema.type === 'array') return this.#arrays(schema);
    return schema.type === 'object' ? this.#objects(schema) : leavesOf(schema);
  }

  /** Any of them mixed, without end. */
  mixtures(schema: JsonSchema): fc.Arbitrary<Json> {
    if (schema.$ref !== undefined) {
      const found = this.#mixtures.get(schema.$ref) ?? this.mixtures(this.#resolve(schema.$ref));
      this.#mixtures.set(schema.$ref, found);
      return found;
    }
    const options = optionsOf(schema);
    if (options !== null) return fc.oneof(...options.map((option) => this.mixtures(option)));
    const { type, items = {}, minItems = 0, maxItems = Infinity, properties, required = [] } = schema;
    if (type === 'array')
      return fc.array(this.mixtures(items), {
        minLength: minItems,
        maxLength: Math.min(maxItems, minItems + 3),
      });
    if (type !== 'object') return fc.constantFrom(...leavesOf(schema));
    if (properties === undefined) return fc.constantFrom(...this.#objects(schema));
    const fields = Object.entries(properties).map(([key, field]) => [key, this.mixtures(field)] as const);
    return fc.record(Object.fromEntries(fields), { requiredKeys: [...required] });
  }

  #resolve(reference: string): JsonSchema {
    const schema = this.#root.$defs?.[reference.replace('#/$defs/', '')];
    if (schema === undefined) throw new Error(`${reference} is not there`);
    return schema;
  }

  #arrays({ items = {}, minItems = 0, maxItems }: JsonSchema): Json[] {
    const [first = null, ...others] = this.of(items);
    const length = Math.max(1, minItems);
    const filled = (value: Json, count: number): Json[] => [value, ...Array<Json>(count - 1).fill(first)];
    return [
      filled(first, length),
      ...(minItems < length ? [[]] : []),
      ...(maxItems === undefined || maxItems <= length ? [] : [filled(first, maxItems)]),
      ...others.map((value) => filled(value, length)),
    ];
  }

  #objects({ properties, required = [], propertyNames, additionalProperties }: JsonSchema): Json[] {
    if (properties === undefined) {
      const [name] = propertyNames ? this.of(propertyNames) : [];
      const keys = required.length > 0 ? required : [typeof name === 'string' ? name : 'key'];
      const values = typeof additionalProperties === 'object' ? this.of(additionalProperties) : ['anything'];
      const maps = values.map((value) => Object.fromEntries(keys.map((key) => [key, value])));
      return required.length > 0 ? maps : [...maps, {}];
    }
    const fields = Object.entries(properties).map(([key, schema]) => [key, this.of(schema)] as const);
    const full: Tree = Object.fromEntries(fields.map(([key, [first = null]]) => [key, first]));
    const optional = Object.keys(full).filter((key) => !required.includes(key));
    const bare = without(full, optional);
    return [
      full,
      ...(optional.length > 0 ? [bare] : []),
      ...optional.flatMap((key) => [without(full, [key]), { ...bare, [key]: full[key] ?? null }]),
      ...fields.flatMap(([key, [, ...others]]) => others.map((value) => ({ ...full, [key]: value }))),
    ];
  }
}
