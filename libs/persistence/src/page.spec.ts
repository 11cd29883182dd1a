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
  it('ends before its items outgrow a message, and loses none', () => {
    const large = Array.from({ length: 5 }, (_, index) => ({ id: `${index}`, body: 'x'.repeat(300_000) }));
    const first = pageFrom(
      large,
      5,
      (row) => [row.id],
      (row) => row,
    );
    expect(first.items.map((item) => item.id)).toEqual(['0', '1']);
    expect(readCursor(first.nextCursor ?? undefined, 1)).toEqual(['1']);
  });
  it('holds at least one item, however large', () => {
    const huge = [{ id: 'a', body: 'x'.repeat(900_000) }];
    expect(
      pageFrom(
        huge,
        5,
        (row) => [row.id],
        (row) => row,
      ),
    ).toEqual({ items: huge, nextCursor: null });
  });
});
