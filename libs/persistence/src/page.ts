import { Fault } from '@casvault/contracts';

/** Where a page ended, as strings: the columns that the rows are sorted by, the last of them unique. */
export type Keyset = readonly string[];

/** Reads a `nextCursor` of `length` parts; null for the first page. INPUT_INVALID when it is none of ours. */
export const readCursor = (cursor: string | undefined, length: number): Keyset | null => {
  if (cursor === undefined) return null;
  const parsed = decoded(cursor);
  if (
    Array.isArray(parsed) &&
    parsed.length === length &&
    parsed.every((part): part is string => typeof part === 'string')
  )
    return parsed;
  throw new Fault('INPUT_INVALID', 'cursor: must be the nextCursor of an earlier page');
};

const decoded = (cursor: string): unknown => {
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8')) as unknown;
  } catch {
    return null;
  }
};

/** A reply fits into one message of NATS (1 MiB) with room for its frame. */
const maxPageBytes = 768 * 1024;

/**
 * A page out of `limit + 1` rows: the one too many only tells that there is more. A keyset page costs the same at any
 * depth, and rows may come and go between two pages. It ends earlier where its items would not fit into one message, yet
 * never before the first.
 */
export const pageFrom = <Row, Item>(
  rows: readonly Row[],
  limit: number,
  keysetOf: (row: Row) => Keyset,
  itemOf: (row: Row) => Item,
): { items: Item[]; nextCursor: string | null } => {
  const items: Item[] = [];
  let bytes = 0;
  for (const row of rows.slice(0, limit)) {
    const item = itemOf(row);
    bytes += Buffer.byteLength(JSON.stringify(item));
    if (bytes > maxPageBytes && items.length > 0) break;
    items.push(item);
  }
  const last = rows[items.length - 1];
  const cursor = rows.length > items.length && last !== undefined ? JSON.stringify(keysetOf(last)) : null;
  return { items, nextCursor: cursor && Buffer.from(cursor).toString('base64url') };
};
