import { Fault } from '@casvault/contracts';
import { XMLParser, XMLValidator } from 'fast-xml-parser';
import iconv from 'iconv-lite';
import { z } from 'zod';

/**
 * The CVM's JSON and XML as one shape. Its JSON is mapped from XML: a list of one comes as an object, old releases send
 * every value as a string, attributes are `@name`, the list is under the element's name. XML loses its root element here,
 * so `<list><host/></list>` and `{"host": {}}` are the same.
 */
export type Wire = string | number | boolean | null | Wire[] | { readonly [key: string]: Wire };

const xml = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: '@',
  parseTagValue: false,
  parseAttributeValue: false,
  ignoreDeclaration: true,
  ignorePiTags: true,
  processEntities: true,
});

const protocolFault = (what: string): Fault =>
  new Fault('PLATFORM_PROTOCOL', `the CVM answered with ${what}`);

const textOf = (contentType: string, body: Buffer): string => {
  const head = body.subarray(0, 200).toString('latin1');
  const declared =
    /charset=["']?([\w-]+)/i.exec(contentType) ?? /^\s*<\?xml[^>]*encoding=["']([\w-]+)/i.exec(head);
  const charset = declared?.[1] ?? 'utf-8';
  return iconv.decode(body, iconv.encodingExists(charset) ? charset : 'utf-8').trim();
};

const parseXml = (text: string): Wire => {
  if (XMLValidator.validate(text) !== true) throw protocolFault('XML that cannot be read');
  const document = xml.parse(text) as { readonly [key: string]: Wire };
  const root = Object.values(document)[0] ?? null;
  return root === '' ? {} : root;
};

const parseJson = (text: string): Wire => {
  try {
    return JSON.parse(text) as Wire;
  } catch (error) {
    throw new Fault('PLATFORM_PROTOCOL', 'the CVM answered with JSON that cannot be read', { cause: error });
  }
};

/** Body of a reply; `null` when it is empty. The bytes decide, since some replies carry a wrong content type. */
export const decodeBody = (contentType: string, body: Buffer): Wire => {
  const text = textOf(contentType, body);
  if (text === '') return null;
  if (/^(<!doctype html|<html)/i.test(text))
    throw protocolFault('a web page: is this the address and port of a CVM?');
  if (text.startsWith('<')) return parseXml(text);
  if (/^[[{"\d-]|^(null|true|false)$/.test(text)) return parseJson(text);
  throw protocolFault('neither JSON nor XML');
};

const isRecord = (value: Wire | undefined): value is { readonly [key: string]: Wire } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const asArray = (value: Wire | undefined): Wire[] => {
  if (value === undefined || value === null || value === '') return [];
  return Array.isArray(value) ? value : [value];
};

/**
 * The rows of a list reply. An object with other content than the list is refused, never taken as an empty list: an
 * inventory must not lose its VMs to a reply that was not understood.
 */
export const listOf = (reply: Wire, key: string): Wire[] => {
  if (reply === null || reply === '') return [];
  if (Array.isArray(reply)) return reply;
  if (!isRecord(reply)) throw protocolFault(`a plain value instead of a list of ${key}`);
  if (key in reply) return asArray(reply[key]);
  const others = Object.keys(reply).filter((name) => !name.startsWith('@'));
  if (others.length > 0) throw protocolFault(`${others.slice(0, 3).join(', ')} instead of a list of ${key}`);
  return [];
};

const plain = (value: unknown): unknown =>
  typeof value === 'object' && value !== null && '#text' in value ? value['#text'] : value;

/** Text, whatever scalar it came as; absent and null become `''`. */
export const text = z.preprocess((value) => {
  const scalar = plain(value);
  if (scalar === undefined || scalar === null) return '';
  return typeof scalar === 'number' || typeof scalar === 'boolean' ? String(scalar) : scalar;
}, z.string());

const numberOf = (value: unknown): unknown => {
  const scalar = plain(value);
  if (scalar === undefined || scalar === null || scalar === '') return undefined;
  return typeof scalar === 'string' ? Number(scalar) : scalar;
};

/** A number, also as a string; absent, null and `''` become the fallback. */
export const numberOr = (fallback: number) => z.preprocess(numberOf, z.number().default(fallback));

/** A flag as boolean, `"true"`, 1 or `"1"`. */
export const flag = z.preprocess((value) => {
  const scalar = plain(value);
  return scalar === true || scalar === 1 || scalar === 'true' || scalar === '1';
}, z.boolean());

/** A list inside a record: absent, one object or an array. */
export const rows = <T extends z.ZodType>(item: T) =>
  z.preprocess((value) => asArray(value as Wire), z.array(item));

/** A section inside a record: absent, null, `''` or an object. */
export const section = <T extends z.ZodObject>(shape: T) =>
  z.preprocess((value) => (isRecord(value as Wire) ? value : {}), shape);

/** Parses with the path of the wrong field in the message. */
export const parseAs = <T extends z.ZodType>(schema: T, value: Wire, what: string): z.output<T> => {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where =
    issue === undefined || issue.path.length === 0 ? '' : ` (${issue.path.join('.')}: ${issue.message})`;
  throw new Fault('PLATFORM_PROTOCOL', `the CVM's ${what} cannot be understood${where}`);
};
