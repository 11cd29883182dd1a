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

/**
 * A page out of `limit + 1` rows: the one too many only tells that there is more. A keyset page costs the same at any
 * depth, and rows may come and go between two pages.
 */
export const pageFrom = <Row, Item>(
  rows: readonly Row[],
  limit: number,
  keysetOf: (row: Row) => Keyset,
  itemOf: (row: Row) => Item,
): { items: Item[]; nextCursor: string | null } => {
  const kept = rows.slice(0, limit);
  const last = kept.at(-1);
  const cursor = last && rows.length > limit ? JSON.stringify(keysetOf(last)) : null;
  return { items: kept.map(itemOf), nextCursor: cursor && Buffer.from(cursor).toString('base64url') };
};
