/**
 * Replies as the CVM sends them. It maps XML to JSON: a repeated element is an array, but a single one is an object; old
 * releases send every value as a string; an attribute is `@name`; the root element is dropped; what is empty is left out.
 */
export type Field = string | number | boolean | null | undefined | Fields | readonly Fields[];
export interface Fields {
  readonly [name: string]: Field;
}

export interface Shape {
  readonly stringValues: boolean;
  readonly singleAsObject: boolean;
}

type Json = string | number | boolean | Json[] | { [name: string]: Json };

const isList = (field: Field): field is readonly Fields[] => Array.isArray(field);
const isFields = (field: Field): field is Fields =>
  typeof field === 'object' && field !== null && !Array.isArray(field);

export function toJson(fields: Fields, shape: Shape): string {
  return JSON.stringify(jsonOf(fields, shape));
}

function jsonOf(fields: Fields, shape: Shape): Json {
  const out: { [name: string]: Json } = {};
  for (const [name, field] of Object.entries(fields)) {
    const value = jsonField(field, shape);
    if (value !== undefined) out[name] = value;
  }
  return out;
}

function jsonField(field: Field, shape: Shape): Json | undefined {
  if (field === null || field === undefined) return undefined;
  if (isList(field)) {
    const [only] = field;
    if (only === undefined) return undefined;
    if (field.length === 1 && shape.singleAsObject) return jsonOf(only, shape);
    return field.map((one) => jsonOf(one, shape));
  }
  if (isFields(field)) return jsonOf(field, shape);
  return shape.stringValues ? String(field) : field;
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&apos;',
};
const escape = (text: string): string => text.replace(/[&<>"']/g, (char) => entities[char] ?? char);

/** An XML document with `root` as its element. */
export const toXml = (root: string, fields: Fields): string =>
  `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>${element(root, fields)}`;

function element(name: string, field: Field): string {
  if (field === null || field === undefined) return '';
  if (isList(field)) return field.map((one) => element(name, one)).join('');
  if (!isFields(field)) return `<${name}>${escape(String(field))}</${name}>`;
  const entries = Object.entries(field);
  const attributes = entries
    .filter(([key, value]) => key.startsWith('@') && value !== undefined && value !== null)
    .map(([key, value]) => ` ${key.slice(1)}="${escape(String(value as string))}"`)
    .join('');
  const content = entries
    .filter(([key]) => !key.startsWith('@'))
    .map(([key, value]) => element(key, value))
    .join('');
  return content === '' ? `<${name}${attributes}/>` : `<${name}${attributes}>${content}</${name}>`;
}
