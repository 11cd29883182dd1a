import { z } from 'zod';
import { schemaNames } from './schema-names.js';

export type JsonSchema = Record<string, unknown>;

/** What the formats say already, and the bounds of JavaScript's whole numbers, only make a document longer. */
const tidy = (schema: JsonSchema): void => {
  if (schema['format'] === 'uuid' || schema['format'] === 'date-time') delete schema['pattern'];
  if (schema['format'] === 'starts_with') delete schema['format'];
  if (schema['maximum'] === Number.MAX_SAFE_INTEGER) delete schema['maximum'];
  if (schema['minimum'] === Number.MIN_SAFE_INTEGER) delete schema['minimum'];
};

const withReferences = (node: unknown): unknown => {
  if (Array.isArray(node)) return node.map(withReferences);
  if (typeof node !== 'object' || node === null) return node;
  return Object.fromEntries(
    Object.entries(node).map(([key, value]) =>
      key === '$ref' && typeof value === 'string'
        ? [key, value.replace('#/$defs/', '#/components/schemas/')]
        : [key, withReferences(value)],
    ),
  );
};

/** JSON Schemas of the document, with the named ones gathered for `components`. */
export class JsonSchemas {
  private readonly named = new Map<string, JsonSchema>();

  /** A request's schema, written out; closed as `strict` made it. */
  ofRequest(schema: z.ZodType): JsonSchema {
    return this.convert(schema, 'input');
  }

  /** A reply's schema: open, since fields may be added to replies. */
  ofReply(schema: z.ZodType): JsonSchema {
    return this.convert(schema, 'output');
  }

  /** Adds a schema under a name and refers to it. */
  reference(name: string, schema: JsonSchema): JsonSchema {
    this.named.set(name, schema);
    return { $ref: `#/components/schemas/${name}` };
  }

  components(): Record<string, JsonSchema> {
    return Object.fromEntries([...this.named].sort(([left], [right]) => (left < right ? -1 : 1)));
  }

  private convert(schema: z.ZodType, io: 'input' | 'output'): JsonSchema {
    // Inside another object, a named schema becomes a reference even when it is the root.
    const converted = z.toJSONSchema(z.object({ it: schema }), {
      io,
      ...(io === 'output' ? { metadata: schemaNames } : {}),
      override: ({ jsonSchema }) => {
        tidy(jsonSchema);
        if (io === 'output' && jsonSchema.additionalProperties === false)
          delete jsonSchema.additionalProperties;
      },
    });
    for (const [name, definition] of Object.entries(converted.$defs ?? {})) {
      const { id: _id, ...rest } = withReferences(definition) as JsonSchema;
      this.named.set(name, rest);
    }
    return withReferences(converted.properties?.['it']) as JsonSchema;
  }
}
