import { XMLParser } from 'fast-xml-parser';

/** A request's body as names and values, whichever of the two formats it came in. */
export type RequestBody = Readonly<Record<string, unknown>>;

const parser = new XMLParser({ ignoreAttributes: false, attributeNamePrefix: '@', parseTagValue: false });
const isRecord = (value: unknown): value is RequestBody =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** JSON; nothing at all counts as an empty object. Throws SyntaxError. */
export function parseJsonBody(text: string): RequestBody {
  if (text.trim() === '') return {};
  const value: unknown = JSON.parse(text);
  return isRecord(value) ? value : {};
}

/** XML without its root element. */
export function parseXmlBody(text: string): RequestBody {
  if (text.trim() === '') return {};
  const document: unknown = parser.parse(text);
  if (!isRecord(document)) return {};
  const root = Object.entries(document).find(([name]) => !name.startsWith('?'))?.[1];
  return isRecord(root) ? root : {};
}

/** What may be absent, one or many, as a list. */
export const asList = (value: unknown): RequestBody[] =>
  (Array.isArray(value) ? value : [value]).filter(isRecord);

export const asSection = (value: unknown): RequestBody | undefined => (isRecord(value) ? value : undefined);

/** A scalar as text; undefined when it is absent or empty. */
export function asText(value: unknown): string | undefined {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  return typeof value === 'string' && value !== '' ? value : undefined;
}

export function asNumber(value: unknown): number | undefined {
  const text = asText(value);
  const number = text === undefined ? Number.NaN : Number(text);
  return Number.isFinite(number) ? number : undefined;
}
