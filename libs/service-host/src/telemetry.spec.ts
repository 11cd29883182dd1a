import { metrics } from '@opentelemetry/api';
import { startTelemetry, type Telemetry } from './telemetry.js';

const scrape = async (telemetry: Telemetry): Promise<string[]> =>
  (await telemetry.scrape()).text.split('\n').filter((line) => line.startsWith('x_'));

describe('H4: a scrape', () => {
  it('shows what a gauge has now, nothing that is gone, and counters as they stand', async () => {
    const telemetry = await startTelemetry({ name: 'test', version: '0' });
    const meter = metrics.getMeter('test');
    let queued: Record<string, number> = {};
    meter.createObservableGauge('x_queue').addCallback((result) => {
      for (const [group, count] of Object.entries(queued)) result.observe(count, { group });
    });
    const done = meter.createCounter('x_done_total');
    const line = (group: string, count: number) =>
      `x_queue{group="${group}",otel_scope_name="test"} ${count}`;

    queued = { a: 3, b: 1 };
    done.add(2);
    expect(await scrape(telemetry)).toEqual([
      line('a', 3),
      line('b', 1),
      'x_done_total{otel_scope_name="test"} 2',
    ]);
    queued = { b: 4 };
    expect(await scrape(telemetry)).toEqual([line('b', 4), 'x_done_total{otel_scope_name="test"} 2']);
    queued = {};
    done.add(1);
    expect(await scrape(telemetry)).toEqual(['x_done_total{otel_scope_name="test"} 3']);
    queued = { a: 1 };
    expect(await scrape(telemetry)).toEqual([line('a', 1), 'x_done_total{otel_scope_name="test"} 3']);
    await telemetry.shutdown();
  });
});
