import { hasTest, textOf } from './tables.js';

const codes = [
  ...Array.from({ length: 17 }, (_, i) => `R${i + 1}`),
  ...Array.from({ length: 8 }, (_, i) => `S${i + 1}`),
];

interface Rule {
  readonly code: string;
  readonly file: string;
  readonly title: string;
}

/** The rows of the tables: `| code | rule | how | \`file\`: "title" |`. */
const rulesOf = (text: string): Rule[] =>
  [...text.matchAll(/^\| ([RS]\d+) \|[^|]+\|[^|]+\| `([^`]+)`: "([^"]+)" \|$/gm)].map(
    ([, code = '', file = '', title = '']) => ({ code, file, title }),
  );

const table = rulesOf(await textOf('docs/rules.md'));

/** docs/rules.md says of each rule how it is met and by which test. */
describe('the table of rules', () => {
  it('has every rule once, in order', () => {
    expect(table.map(({ code }) => code)).toEqual(codes);
  });

  it.each(table)('$code: its test is there, and bears its code', async ({ code, file, title }) => {
    expect(title).toMatch(new RegExp(`^${code}: .`));
    expect(await hasTest(file, title)).toBe(true);
  });
});
