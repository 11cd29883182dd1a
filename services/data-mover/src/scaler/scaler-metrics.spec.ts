import { startTelemetry, type Telemetry } from '@casvault/service-host';
import { parsePrometheusText, type Scrape } from '@casvault/testkit';
import { ScalerMetrics } from './scaler-metrics.js';

const scrape = async (telemetry: Telemetry): Promise<Scrape> =>
  parsePrometheusText((await telemetry.scrape()).text);

it('H4: a leader tells what it wants and finds, and nothing of it once another leads', async () => {
  const telemetry = await startTelemetry({ name: 'test', version: '0' });
  const metrics = new ScalerMetrics();
  metrics.leads(true);
  metrics.saw('default', { wanted: 5, replicas: 4, ready: 3 });
  metrics.refused('FORBIDDEN');
  const leading = await scrape(telemetry);
  const group = 'default';
  expect(leading.sum('casvault_scaler_leader')).toBe(1);
  expect(leading.sum('casvault_scaler_wanted_replicas', { group })).toBe(5);
  expect(leading.sum('casvault_scaler_present_replicas', { group })).toBe(4);
  expect(leading.sum('casvault_scaler_ready_pods', { group })).toBe(3);
  expect(leading.sum('casvault_scaler_refusals_total', { code: 'FORBIDDEN' })).toBe(1);
  metrics.leads(false);
  const followed = await scrape(telemetry);
  expect(followed.sum('casvault_scaler_leader')).toBe(0);
  expect(followed.samples.filter(({ labels }) => labels['group'] !== undefined)).toEqual([]);
  await telemetry.shutdown();
});
