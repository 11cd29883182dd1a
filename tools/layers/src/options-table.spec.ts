import { hasTest, textOf } from './tables.js';

interface Option {
  readonly field: string;
  readonly file: string;
  readonly title: string;
}

/** The rows of the tables: `| option | \`field\` | how | \`file\`: "title" |`. */
const optionsOf = (text: string): Option[] =>
  [...text.matchAll(/^\|[^|]+\| `([^`]+)` \|[^|]+\| `([^`]+)`: "([^"]+)" \|$/gm)].map(
    ([, field = '', file = '', title = '']) => ({ field, file, title }),
  );

const text = await textOf('docs/options.md');
const table = optionsOf(text);
const api = 'services/gateway/src/api';
const boundaries =
  (await textOf(`${api}/option-input.spec.ts`)) + (await textOf(`${api}/restore-input.spec.ts`));

/** docs/options.md says of each option how it is applied and by which test that is held. */
describe('the table of options', () => {
  it('is read as it is written', () => {
    const rows = text.split('\n').filter((line) => line.startsWith('|') && !/^\| (option|---)/.test(line));
    expect(table).toHaveLength(rows.length);
  });

  it.each(table)('$field: its range is tried through the API', ({ field }) => {
    expect(boundaries).toContain(`'${field}'`);
  });

  it.each(table)('$field: the test of what it does is there', async ({ file, title }) => {
    expect(await hasTest(file, title)).toBe(true);
  });

  it('has every option that is tried through the API', () => {
    const tried = [...boundaries.matchAll(/(?:field: |whole\()'([^']+)'/g)].map(([, field]) => field);
    const known = new Set(table.map(({ field }) => field));
    expect(tried.filter((field = '') => !known.has(field.replace(/\.\d+$/, '')))).toEqual([]);
  });
});
