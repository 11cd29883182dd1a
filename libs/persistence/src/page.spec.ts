import { pageFrom, readCursor } from './page.js';

const rows = ['a', 'b', 'c'];
const page = (limit: number) =>
  pageFrom(
    rows.slice(0, limit + 1),
    limit,
    (row) => [row, '1'],
    (row) => row,
  );

describe('keyset pages', () => {
  it('tells where to go on, and that there is no more', () => {
    const { items, nextCursor } = page(2);
    expect(items).toEqual(['a', 'b']);
    expect(readCursor(nextCursor ?? '', 2)).toEqual(['b', '1']);
    expect(page(3)).toEqual({ items: rows, nextCursor: null });
    expect(readCursor(undefined, 2)).toBeNull();
  });

  it.each(['', 'x', Buffer.from('["a"]').toString('base64url'), Buffer.from('[1,2]').toString('base64url')])(
    'refuses %j',
    (cursor) => expect(() => readCursor(cursor, 2)).toThrow('cursor'),
  );
});
