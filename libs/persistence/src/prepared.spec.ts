import { StatementNames } from './prepared.js';

describe('names of prepared statements', () => {
  it('are the same for the same text and differ for others', () => {
    const names = new StatementNames();
    const first = names.of('SELECT $1');
    expect(names.of('SELECT $2')).not.toBe(first);
    expect(names.of('SELECT $1')).toBe(first);
  });

  it('are short enough for Postgres, which cuts them at 63 bytes', () => {
    const names = new StatementNames();
    for (let n = 0; n < 256; n += 1) expect(names.of(`SELECT ${n}, $1`)?.length).toBeLessThan(63);
  });

  it('are given to no text that is long, and to so many alone that a connection stays small', () => {
    const names = new StatementNames();
    expect(names.of(`SELECT '${'x'.repeat(5_000)}', $1`)).toBeNull();
    for (let n = 0; n < 256; n += 1) names.of(`SELECT ${n}, $1`);
    expect(names.of('SELECT $1')).toBeNull();
    expect(names.of('SELECT 7, $1')).not.toBeNull();
  });
});
