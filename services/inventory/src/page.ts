import { Fault } from '@casvault/contracts';

/** Keyset pages: a cursor is where the last page ended, so a page costs the same at any depth and rows may come and go. */
export type Keyset = readonly [sort: string, id: string];

/** Reads `cursor`; null for the first page. INPUT_INVALID when it is none of ours. */
export const readCursor = (cursor: string | undefined): Keyset | null => {
  if (cursor === undefined) return null;
  try {
    const parsed = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8')) as unknown;
    if (Array.isArray(parsed) && parsed.length === 2 && parsed.every((part) => typeof part === 'string')) {
      return [parsed[0] as string, parsed[1] as string];
    }
  } catch {
    // refused below
  }
  throw new Fault('INPUT_INVALID', 'cursor: must be the nextCursor of an earlier page');
};

const cursorOf = (keyset: Keyset): string => Buffer.from(JSON.stringify(keyset)).toString('base64url');

/** A reply fits into one message of NATS (1 MiB) with room for its frame. */
const maxPageBytes = 768 * 1024;

/**
 * A page out of `limit + 1` rows: the one too many only tells that there is more. It ends earlier where its items would
 * not fit into one message, yet never before the first.
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
  const nextCursor = rows.length > items.length && last !== undefined ? cursorOf(keysetOf(last)) : null;
  return { items, nextCursor };
};
