import { isMap, isScalar, parseDocument, type Pair, type YAMLMap } from 'yaml';

const begin = '<!-- values: made by `npm run readme -w tools/charts` -->';
const end = '<!-- end of values -->';

interface Row {
  readonly path: string;
  readonly initial: string;
  readonly comment: string;
}

/** The table of values in the chart's README: every value of values.yaml with its default and the comment above it. */
export const readmeWithValues = (readme: string, values: string): string => {
  const [before, rest] = readme.split(begin);
  const after = rest?.split(end)[1];
  if (before === undefined || after === undefined)
    throw new Error('README.md: the marks of the table are missing');
  const lines = rowsOf(values).map(
    ({ path, initial, comment }) => `| \`${path}\` | ${initial} | ${comment} |`,
  );
  const table = ['| value | default | |', '| --- | --- | --- |', ...lines].join('\n');
  return `${before}${begin}\n${table}\n${end}${after}`;
};

const rowsOf = (values: string): Row[] => {
  const { contents } = parseDocument(values);
  if (!isMap(contents)) throw new Error('values.yaml: is no map');
  return rowsOfMap(contents, '');
};

const rowsOfMap = (map: YAMLMap, prefix: string): Row[] =>
  map.items.flatMap((pair, index) => {
    const key = isScalar(pair.key) ? String(pair.key.value) : '';
    const path = `${prefix}${key}`;
    const comment = commentOf(pair, index === 0 ? map.commentBefore : undefined);
    const { value } = pair;
    if (!isMap(value) || value.items.length === 0 || value.items.every((item) => isFlow(item)))
      return [row(path, comment, value)];
    const rows = rowsOfMap(value, `${path}.`);
    return comment === '' ? rows : [{ path, initial: '', comment }, ...rows];
  });

/** `requests: { cpu: 1 }`: a value whose parts are explained by its own comment. */
const isFlow = ({ value }: Pair): boolean => isMap(value) && value.flow === true;

const row = (path: string, comment: string, value: unknown): Row => {
  if (comment === '') throw new Error(`values.yaml: ${path}: has no comment`);
  const initial = JSON.stringify((value as { toJSON(): unknown } | null)?.toJSON() ?? null);
  return { path, initial: initial === '""' ? '' : `\`${initial.replaceAll('|', '\\|')}\``, comment };
};

const commentOf = (pair: Pair, first: string | null | undefined): string => {
  const own = isScalar(pair.key) ? pair.key.commentBefore : undefined;
  return (own ?? first ?? '')
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
    .join(' ');
};
