import {
  context,
  trace,
  TraceFlags,
  type Attributes,
  type Context,
  type Histogram,
  type Meter,
  type MeterProvider,
  type MetricOptions,
} from '@opentelemetry/api';

interface Exemplar {
  readonly traceId: string;
  readonly spanId: string;
  readonly value: number;
  readonly atMs: number;
}

/** What Prometheus takes as a name of a metric or a label, as OpenTelemetry's exporter writes it. */
const plainName = (name: string): string => name.replace(/[^a-z0-9_]/gi, '_').replace(/_{2,}/g, '_');
const quoted = (value: unknown): string =>
  (typeof value === 'string' ? value : JSON.stringify(value))
    .replace(/\\/g, '\\\\')
    .replace(/\n/g, '\\n')
    .replace(/"/g, '\\"');

/** Of a bucket, whatever the order of its labels; `labels` as they are written in a scrape. */
const keyOf = (histogram: string, labels: readonly string[], bound: string): string =>
  [histogram, ...[...labels].sort(), bound].join(' ');

/**
 * H4: for every bucket of the histograms the trace of its last measurement that was made in a recorded one, so that a graph leads to a
 * trace. OpenTelemetry's metrics for JavaScript keep none and its exporter writes a format without them, so both is done here, beside them.
 * Memory: about 300 bytes for each bucket that a scrape shows.
 */
export class Exemplars {
  readonly #now: () => Date;
  readonly #kept = new Map<string, Exemplar>();
  readonly #watched = new WeakSet<Meter>();

  constructor(now: () => Date) {
    this.#now = now;
  }

  /** The same provider; the histograms that are made with bounds of their own from now on are watched. */
  watching<P extends MeterProvider>(provider: P): P {
    const getMeter = provider.getMeter.bind(provider);
    provider.getMeter = (...asked) => this.#watchedMeter(getMeter(...asked));
    return provider;
  }

  #watchedMeter(meter: Meter): Meter {
    if (this.#watched.has(meter)) return meter;
    this.#watched.add(meter);
    const createHistogram = meter.createHistogram.bind(meter);
    meter.createHistogram = <T extends Attributes>(name: string, options?: MetricOptions): Histogram<T> => {
      const histogram = createHistogram<T>(name, options);
      const bounds = options?.advice?.explicitBucketBoundaries;
      if (bounds !== undefined) this.#watch(histogram, plainName(name), bounds);
      return histogram;
    };
    return meter;
  }

  #watch<T extends Attributes>(histogram: Histogram<T>, name: string, bounds: readonly number[]): void {
    const record = histogram.record.bind(histogram);
    histogram.record = (value, attributes, within = context.active()) => {
      record(value, attributes, within);
      const bound = bounds.find((one) => value <= one);
      this.#keep(name, bound === undefined ? '+Inf' : String(bound), value, attributes ?? {}, within);
    };
  }

  #keep(histogram: string, bound: string, value: number, attributes: Attributes, within: Context): void {
    const span = trace.getSpanContext(within);
    if (span === undefined || (span.traceFlags & TraceFlags.SAMPLED) === 0) return;
    const { traceId, spanId } = span;
    const labels = Object.entries(attributes).map(([name, is]) => `${plainName(name)}="${quoted(is)}"`);
    this.#kept.set(keyOf(histogram, labels, bound), {
      traceId,
      spanId,
      value,
      atMs: this.#now().getTime(),
    });
  }

  /** A scrape in Prometheus' text format 0.0.4, as OpenTelemetry's exporter writes it, in OpenMetrics 1.0 with the exemplars. */
  openMetrics(scrape: string): string {
    const counters = new Set([...scrape.matchAll(/^# TYPE (\w+)_total counter$/gm)].map(([, name]) => name));
    const lines = scrape
      .split('\n')
      // A unit would have to be the end of its metric's name.
      .filter((line) => line !== '' && !line.startsWith('# UNIT '))
      // A family of counters is named without the suffix of its samples.
      .map((line) =>
        line.replace(/^(# \w+ )(\w+)_total /, (all, start: string, name: string) =>
          counters.has(name) ? `${start}${name} ` : all,
        ),
      )
      .map((line) => `${line}${this.#exemplarOf(line)}`);
    return [...lines, '# EOF\n'].join('\n');
  }

  #exemplarOf(line: string): string {
    const [, histogram, labels, bound] = /^(\w+)_bucket\{(.*),le="([^"]+)"\} \S+$/.exec(line) ?? [];
    if (histogram === undefined || labels === undefined || bound === undefined) return '';
    const own = [...labels.matchAll(/\w+="(?:[^"\\]|\\.)*"/g)]
      .map(([pair]) => pair)
      .filter((pair) => !pair.startsWith('otel_scope_'));
    const found = this.#kept.get(keyOf(histogram, own, bound));
    if (found === undefined) return '';
    const { traceId, spanId, value, atMs } = found;
    return ` # {trace_id="${traceId}",span_id="${spanId}"} ${value} ${(atMs / 1_000).toFixed(3)}`;
  }
}
