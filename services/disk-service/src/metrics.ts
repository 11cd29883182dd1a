import type { Opening } from '@casvault/contracts';

/** Upper bounds of the buckets of `casvault_disk_service_http_request_seconds`, in seconds. */
const bounds = [0.005, 0.02, 0.1, 0.5, 2, 10, 60];

interface Durations {
  /** Requests that took at most the bound of the same place. */
  readonly upTo: number[];
  count: number;
  sum: number;
}

/** Counters of this process, in the text form that Prometheus scrapes. A fixed set of label values: no growth. */
export class Metrics {
  readonly #counters = new Map<string, number>();
  readonly #durations = new Map<string, Durations>();

  opened(method: Opening['method']): void {
    this.#add(`casvault_disk_service_openings_opened_total{method="${method}"}`, 1);
  }

  /** `closed` by its caller, `lost` by the host or its lease, `failed` while opening. */
  closed(how: 'closed' | 'lost' | 'failed'): void {
    this.#add(`casvault_disk_service_openings_ended_total{how="${how}"}`, 1);
  }

  request(method: string, route: string, status: number, seconds: number): void {
    const labels = `method="${method}",route="${route}",status="${String(status)}"`;
    this.#add(`casvault_disk_service_http_requests_total{${labels}}`, 1);
    const durations = this.#durations.get(labels) ?? { upTo: bounds.map(() => 0), count: 0, sum: 0 };
    for (const [index, bound] of bounds.entries())
      if (seconds <= bound) durations.upTo[index] = (durations.upTo[index] ?? 0) + 1;
    durations.count += 1;
    durations.sum += seconds;
    this.#durations.set(labels, durations);
  }

  render(gauges: { readonly openings: number; readonly scratchFreeBytes: number }): string {
    const lines = [
      '# TYPE casvault_disk_service_openings gauge',
      `casvault_disk_service_openings ${String(gauges.openings)}`,
      '# TYPE casvault_disk_service_scratch_free_bytes gauge',
      `casvault_disk_service_scratch_free_bytes ${String(gauges.scratchFreeBytes)}`,
      ...this.#renderCounter('# TYPE casvault_disk_service_http_requests_total counter'),
      ...this.#renderCounter('# TYPE casvault_disk_service_openings_ended_total counter'),
      ...this.#renderCounter('# TYPE casvault_disk_service_openings_opened_total counter'),
      ...this.#renderDurations(),
    ];
    return `${lines.join('\n')}\n`;
  }

  /** A family of which nothing was counted is left out. */
  #renderCounter(head: string): string[] {
    const prefix = `${head.split(' ')[2] ?? ''}{`;
    const lines = [...this.#counters]
      .filter(([name]) => name.startsWith(prefix))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, value]) => `${name} ${String(value)}`);
    return lines.length === 0 ? [] : [head, ...lines];
  }

  #renderDurations(): string[] {
    if (this.#durations.size === 0) return [];
    const family = 'casvault_disk_service_http_request_seconds';
    const lines = ['# TYPE casvault_disk_service_http_request_seconds histogram'];
    for (const [labels, { upTo, count, sum }] of [...this.#durations].sort(([a], [b]) => (a < b ? -1 : 1))) {
      for (const [index, bound] of bounds.entries())
        lines.push(`${family}_bucket{${labels},le="${String(bound)}"} ${String(upTo[index])}`);
      lines.push(`${family}_bucket{${labels},le="+Inf"} ${String(count)}`);
      lines.push(`${family}_sum{${labels}} ${String(sum)}`, `${family}_count{${labels}} ${String(count)}`);
    }
    return lines;
  }

  #add(name: string, by: number): void {
    this.#counters.set(name, (this.#counters.get(name) ?? 0) + by);
  }
}
