import { Fault } from '@casvault/contracts';
import { XMLParser } from 'fast-xml-parser';

/** A parsed element: attributes as `@name`, text as `#text`, children by name (one value, or a list when repeated). */
export type XmlNode = { readonly [key: string]: unknown };

// Values stay strings: `007` is a name, and a 64-bit number does not fit a JSON number.
const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: '@',
  parseTagValue: false,
  parseAttributeValue: false,
  trimValues: true,
});

const isNode = (value: unknown): value is XmlNode => typeof value === 'object' && value !== null;

/** The root element `name` of a document that libvirt printed. Throws LIBVIRT_FAILED when it is not there. */
export function parseXml(text: string, name: string): XmlNode {
  let parsed: unknown;
  try {
    parsed = parser.parse(text);
  } catch (cause) {
    throw new Fault('LIBVIRT_FAILED', `libvirt printed XML that can't be read where <${name}> was expected`, {
      cause,
    });
  }
  const root = isNode(parsed) ? parsed[name] : undefined;
  // An element with neither attributes nor children parses as an empty string.
  if (root === '') return {};
  if (!isNode(root)) throw new Fault('LIBVIRT_FAILED', `libvirt printed no <${name}> where one was expected`);
  return root;
}

/** Child elements called `name`: none, one or many, always as a list. */
export function children(node: XmlNode, name: string): XmlNode[] {
  const value = node[name];
  if (value === undefined) return [];
  return (Array.isArray(value) ? (value as unknown[]) : [value]).map((one) =>
    isNode(one) ? one : { '#text': String(one) },
  );
}

export const child = (node: XmlNode, name: string): XmlNode | undefined => children(node, name)[0];

export function attribute(node: XmlNode | undefined, name: string): string | undefined {
  const value = node?.[`@${name}`];
  return typeof value === 'string' ? value : undefined;
}

/** Text of the child `name`. */
export function text(node: XmlNode | undefined, name: string): string | undefined {
  const found = node && child(node, name)?.['#text'];
  return typeof found === 'string' ? found : undefined;
}

const entities: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&apos;',
  '"': '&quot;',
};

/** Text made safe as element content or as an attribute value. Throws on characters that XML 1.0 can't carry. */
export function escapeXml(value: string): string {
  // eslint-disable-next-line no-control-regex -- these are the characters that XML 1.0 forbids
  if (/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/.test(value)) {
    throw new Fault('INPUT_INVALID', 'a value for libvirt holds a control character that XML cannot carry');
  }
  return value.replace(/[&<>'"]/g, (char) => entities[char] ?? char);
}
