import { pageFrom, readCursor } from './page.js';

describe('keyset pages', () => {
  const rows = ['a', 'b', 'c'].map((name) => ({ name, id: `id-${name}` }));
  const page = (limit: number) =>
    pageFrom(
      rows,
      limit,
      (row) => [row.name, row.id],
      (row) => row.name,
    );

  it('ends without a cursor when nothing follows', () => {
    expect(page(3)).toEqual({ items: ['a', 'b', 'c'], nextCursor: null });
  });
  it('gives a cursor that leads on from the last row shown', () => {
    const { items, nextCursor } = page(2);
    expect(items).toEqual(['a', 'b']);
    expect(readCursor(nextCursor ?? undefined)).toEqual(['b', 'id-b']);
  });
  it('ends before its items outgrow a message, and loses none', () => {
    const large = Array.from({ length: 5 }, (_, index) => ({ id: `${index}`, body: 'x'.repeat(300_000) }));
    const first = pageFrom(
      large,
      5,
      (row) => [row.id, row.id],
      (row) => row,
    );
    expect(first.items.map((item) => item.id)).toEqual(['0', '1']);
    expect(readCursor(first.nextCursor ?? undefined)).toEqual(['1', '1']);
    const huge = [{ id: 'a', body: 'x'.repeat(900_000) }];
    expect(
      pageFrom(
        huge,
        5,
        (row) => [row.id, row.id],
        (row) => row,
      ),
    ).toEqual({ items: huge, nextCursor: null });
  });
  it('keeps any character of a name', () => {
    const odd = [
      { name: '主机 "x"', id: '1' },
      { name: 'z', id: '2' },
    ];
    const { nextCursor } = pageFrom(
      odd,
      1,
      (row) => [row.name, row.id],
      (row) => row.id,
    );
    expect(readCursor(nextCursor ?? undefined)).toEqual(['主机 "x"', '1']);
  });
  it.each(['', 'x', Buffer.from('[1,2]').toString('base64url'), Buffer.from('["a"]').toString('base64url')])(
    'refuses %j',
    (cursor) => {
      expect(() => readCursor(cursor)).toThrow(/cursor/);
    },
  );
});
