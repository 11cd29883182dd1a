import type { Opening } from '@casvault/contracts';

/** Counters of this process, in the text form that Prometheus scrapes. A fixed set of label values: no growth. */
export class Metrics {
  readonly #counters = new Map<string, number>();

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
    this.#add(`casvault_disk_service_http_request_seconds_total{${labels}}`, seconds);
  }

  render(gauges: { readonly openings: number; readonly scratchFreeBytes: number }): string {
    const lines = [
      '# TYPE casvault_disk_service_openings gauge',
      `casvault_disk_service_openings ${String(gauges.openings)}`,
      '# TYPE casvault_disk_service_scratch_free_bytes gauge',
      `casvault_disk_service_scratch_free_bytes ${String(gauges.scratchFreeBytes)}`,
    ];
    let family = '';
    for (const [name, value] of [...this.#counters].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const of = name.slice(0, name.indexOf('{'));
      if (of !== family) lines.push(`# TYPE ${of} counter`);
      family = of;
      lines.push(`${name} ${String(value)}`);
    }
    return `${lines.join('\n')}\n`;
  }

  #add(name: string, by: number): void {
    this.#counters.set(name, (this.#counters.get(name) ?? 0) + by);
  }
}
