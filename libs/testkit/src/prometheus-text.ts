/** One series of a scrape. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}
export interface Scrape {
  /** Metric families that were declared, with their type. */
  readonly types: ReadonlyMap<string, string>;
  readonly samples: readonly Sample[];
  /** The sum over the series of `name` that carry all of `labels`; 0 when there is none. */
  sum(name: string, labels?: Readonly<Record<string, string>>): number;
}

const metricName = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const types = ['counter', 'gauge', 'histogram', 'summary', 'untyped'];
const sampleLine = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)(?: (-?\d+))?$/;
const labelPair = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/;
const valueText = /^(?:NaN|[+-]Inf|[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)$/;

const valueOf = (text: string): number => {
  if (!valueText.test(text)) throw new Error(`no number: ${text}`);
  return Number(text.replace('Inf', 'Infinity'));
};

const labelsOf = (text: string): Record<string, string> => {
  const labels: Record<string, string> = {};
  for (let rest = text; rest !== '';) {
    const [whole, name = '', value = ''] = labelPair.exec(rest) ?? [];
    if (whole === undefined) throw new Error(`no label at: ${rest}`);
    if (name in labels) throw new Error(`label ${name} twice`);
    labels[name] = value.replace(/\\(.)/g, (_, escaped) => (escaped === 'n' ? '\n' : String(escaped)));
    rest = rest.slice(whole.length);
  }
  return labels;
};

/** The family that a series belongs to: histograms and summaries have series of other names. */
const familyOf = (name: string, declared: ReadonlyMap<string, string>): string => {
  const base = /^(.*)_(bucket|sum|count)$/.exec(name)?.[1];
  const isPart = base !== undefined && ['histogram', 'summary'].includes(declared.get(base) ?? '');
  return isPart ? base : name;
};

const readComment = (line: string, declared: Map<string, string>): void => {
  const [, keyword, name = '', text = ''] = /^# (HELP|TYPE) (\S+) ?(.*)$/.exec(line) ?? [];
  if (keyword === undefined) return;
  if (!metricName.test(name)) throw new Error(`no metric name: ${name}`);
  if (keyword === 'HELP') return;
  if (!types.includes(text)) throw new Error(`no type: ${text}`);
  if (declared.has(name)) throw new Error(`${name} is declared twice`);
  declared.set(name, text);
};

const readSample = (line: string): Sample => {
  const [, name, labels = '', value = ''] = sampleLine.exec(line) ?? [];
  if (name === undefined) throw new Error('no sample');
  return { name, labels: labelsOf(labels), value: valueOf(value) };
};

const idOf = ({ name, labels }: Sample): string => JSON.stringify([name, Object.entries(labels).sort()]);

/**
 * Reads Prometheus' text format, version 0.0.4. Stricter than Prometheus itself: every series belongs to a family declared
 * before it, no family is declared twice, no series comes twice. Throws an Error that names the line.
 */
export const parsePrometheusText = (text: string): Scrape => {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const declared = new Map<string, string>();
  const samples = new Map<string, Sample>();
  for (const [index, line] of text.split('\n').entries())
    try {
      if (line.startsWith('#')) readComment(line, declared);
      else if (line !== '') {
        const sample = readSample(line);
        if (!declared.has(familyOf(sample.name, declared))) throw new Error('its family is not declared');
        if (samples.has(idOf(sample))) throw new Error('the series comes twice');
        samples.set(idOf(sample), sample);
      }
    } catch (error) {
      throw new Error(`line ${index + 1}: ${(error as Error).message}: ${line}`, { cause: error });
    }
  const all = [...samples.values()];
  return {
    types: declared,
    samples: all,
    sum: (name, labels = {}) =>
      all
        .filter((one) => one.name === name && Object.entries(labels).every(([k, v]) => one.labels[k] === v))
        .reduce((sum, { value }) => sum + value, 0),
  };
};
