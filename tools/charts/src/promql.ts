import { metricTable, type Metric } from './metric-table.js';

/** What a scrape adds to every series (docs/runbooks/README.md), and Prometheus' own of histograms. */
const commonLabels = ['job', 'service', 'instance', 'le'];
/** Series that Prometheus makes itself. */
const ownSeries: Readonly<Record<string, Metric>> = { up: { type: 'gauge', labels: [] } };

const word = /[a-zA-Z_:][a-zA-Z0-9_:]*/g;
const keywords = new Set(['and', 'or', 'unless', 'bool', 'offset', 'inf', 'nan']);
const grouping = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)/g;
const selector = /([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^}]*)\}/g;
const matcher = /([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)\s*(?:"(?:[^"\\]|\\.)*"|'[^']*')/g;

/** The metric of a series by its name: histograms have series of other names. */
const metricOf = (name: string): Metric | undefined => {
  const own = ownSeries[name] ?? metricTable[name];
  // A histogram has no series of its own name.
  if (own !== undefined) return own.type === 'histogram' ? undefined : own;
  const family = metricTable[name.replace(/_(?:bucket|sum|count)$/, '')];
  return family?.type === 'histogram' ? family : undefined;
};

/**
 * What is wrong with a query: names of metrics that no service tells and no rule records, labels that a metric has not.
 * `recorded` are the names of recording rules. Syntax is promtool's to judge.
 */
export const queryProblems = (query: string, recorded: ReadonlySet<string>): string[] => {
  const problems: string[] = [];
  const plain = query.replaceAll(/\$__(?:rate_)?interval|\$__range/g, '5m');
  const names = seriesOf(plain);
  const known = names.filter((name) => !recorded.has(name));
  problems.push(
    ...known.filter((name) => metricOf(name) === undefined).map((name) => `no service tells ${name}`),
  );
  for (const [, name = '', matchers = ''] of plain.matchAll(selector))
    for (const [, label = ''] of matchers.matchAll(matcher))
      if (!hasLabel(name, label, recorded)) problems.push(`${name} has no label ${label}`);
  const labels = [...plain.matchAll(grouping)].flatMap(([, list = '']) => list.match(word) ?? []);
  problems.push(
    ...labels
      .filter((label) => !names.some((name) => hasLabel(name, label, recorded)))
      .map((label) => `nothing here has the label ${label}`),
  );
  return problems;
};

const hasLabel = (name: string, label: string, recorded: ReadonlySet<string>): boolean =>
  recorded.has(name) || commonLabels.includes(label) || (metricOf(name)?.labels.includes(label) ?? false);

/** Names of series in a query. */
const seriesOf = (query: string): string[] => {
  const bare = query
    .replaceAll(selector, '$1')
    .replaceAll(grouping, ' ')
    .replaceAll(/\[[^\]]*\]/g, ' ')
    .replaceAll(/"(?:[^"\\]|\\.)*"|'[^']*'/g, ' ')
    .replaceAll(/\boffset\s+-?\w+/g, ' ');
  return [...bare.matchAll(word)]
    .filter(({ index, 0: name }) => !isOther(bare, index, name))
    .map(([name]) => name);
};

/** A function, an operator, or the unit of a number such as `1e3`. */
const isOther = (query: string, index: number, name: string): boolean =>
  keywords.has(name.toLowerCase()) ||
  /^\s*\(/.test(query.slice(index + name.length)) ||
  /[\w.]/.test(query.charAt(index - 1)) ||
  /^(?:sum|min|max|avg|count|topk|bottomk|quantile)$/.test(name);
