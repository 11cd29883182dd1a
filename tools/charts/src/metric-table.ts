import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { repositoryRoot } from './helm.js';

export type MetricType = 'counter' | 'gauge' | 'histogram';
export interface Metric {
  readonly type: MetricType;
  readonly labels: readonly string[];
}

const metric = (type: MetricType, ...labels: string[]): Metric => ({ type, labels });

/** What the services tell at /metrics. A test holds names and types against the code that registers them. */
export const metricTable: Readonly<Record<string, Metric>> = {
  http_server_request_duration_seconds: metric(
    'histogram',
    'http_request_method',
    'http_route',
    'http_response_status_code',
  ),
  http_server_active_requests: metric('gauge', 'http_request_method'),
  casvault_message_duration_seconds: metric('histogram', 'subject', 'outcome'),
  casvault_effect_duration_seconds: metric('histogram', 'machine', 'effect', 'outcome'),
  process_resident_memory_bytes: metric('gauge'),
  nodejs_eventloop_delay_p99_seconds: metric('gauge'),

  casvault_runs: metric('gauge', 'state'),
  casvault_jobs: metric('gauge', 'last_run'),
  casvault_scheduling_delay_seconds: metric('histogram'),
  casvault_job_vms: metric('gauge'),
  casvault_protected_vms: metric('gauge'),
  casvault_protected_vms_by_age: metric('gauge', 'up_to_seconds'),
  casvault_vm_backup_age_seconds: metric('gauge', 'vm_id', 'vm_name'),
  casvault_alert_deliveries: metric('gauge', 'state'),

  casvault_licences: metric('gauge', 'state'),
  casvault_licence_days_left: metric('gauge', 'feature'),

  casvault_points: metric('gauge', 'state'),
  casvault_points_by_verification: metric('gauge', 'found'),
  casvault_points_verified_by_age: metric('gauge', 'up_to_seconds'),

  casvault_platforms: metric('gauge', 'state'),
  casvault_vms: metric('gauge'),
  casvault_platform_sync_seconds: metric('histogram', 'outcome'),
  casvault_reconciliation_findings_total: metric('counter', 'kind', 'outcome'),
  casvault_backup_hosts: metric('gauge', 'group', 'state'),
  casvault_pool_capacity_bytes: metric('gauge', 'pool_id', 'pool'),
  casvault_pool_free_bytes: metric('gauge', 'pool_id', 'pool'),

  casvault_transfers: metric('gauge', 'state', 'kind', 'group'),
  casvault_transfer_queue_age_seconds: metric('gauge', 'group'),
  casvault_transfer_seconds: metric('histogram', 'kind', 'state'),
  casvault_transfer_read_bytes_total: metric('counter', 'kind'),
  casvault_transfer_stored_bytes_total: metric('counter', 'kind'),
  casvault_worker_transfers_total: metric('counter', 'kind', 'outcome'),
  casvault_worker_transfer_seconds: metric('histogram', 'kind', 'outcome'),
  casvault_worker_bytes_total: metric('counter', 'kind', 'direction'),
  casvault_worker_transfers_running: metric('gauge'),
  casvault_scaler_leader: metric('gauge'),
  casvault_scaler_wanted_replicas: metric('gauge', 'group'),
  casvault_scaler_present_replicas: metric('gauge', 'group'),
  casvault_scaler_ready_pods: metric('gauge', 'group'),
  casvault_scaler_refusals_total: metric('counter', 'code'),

  casvault_disk_service_openings: metric('gauge'),
  casvault_disk_service_scratch_free_bytes: metric('gauge'),
  casvault_disk_service_openings_opened_total: metric('counter', 'method'),
  casvault_disk_service_openings_ended_total: metric('counter', 'how'),
  casvault_disk_service_http_requests_total: metric('counter', 'method', 'route', 'status'),
  casvault_disk_service_http_request_seconds: metric('histogram', 'method', 'route', 'status'),
};

const instrument =
  /\.create(?:Observable)?(Gauge|Counter|UpDownCounter|Histogram)\(\s*'([a-zA-Z_:][a-zA-Z0-9_:]*)'/g;
/** Of `observeGauges`: what each tells, by its name. */
const observed = /\b(casvault_[a-z0-9_]+):\s+'/g;
/** disk-service writes its text itself: `# TYPE name type`. */
const declared = /# TYPE (casvault_[a-z_]+) (counter|gauge|histogram)/g;
const typeOf = (kind: string): MetricType =>
  kind === 'UpDownCounter' ? 'gauge' : (kind.toLowerCase() as MetricType);

/** The metrics that a source file registers, by name. */
export const metricsIn = (source: string): Map<string, MetricType> =>
  new Map([
    ...[...source.matchAll(instrument)].map(([, kind = '', name = '']) => [name, typeOf(kind)] as const),
    ...[...source.matchAll(observed)].map(([, name = '']) => [name, 'gauge'] as const),
    ...[...source.matchAll(declared)].map(([, name = '', type = '']) => [name, type as MetricType] as const),
  ]);

const isSource = (path: string): boolean =>
  /^[^/]+\/src\/.*\.ts$/.test(path) && !/\.spec\.ts$|\/testing\//.test(path);

/** Every metric that the product's code registers. */
export const registeredMetrics = async (): Promise<Map<string, MetricType>> => {
  const found = new Map<string, MetricType>();
  for (const part of ['libs', 'services']) {
    const packages = await readdir(join(repositoryRoot, part));
    for (const one of packages.filter((name) => name !== 'testkit')) {
      const folder = join(repositoryRoot, part, one, 'src');
      for (const path of await readdir(folder, { recursive: true }).catch(() => []))
        if (isSource(`${one}/src/${path}`))
          for (const [name, type] of metricsIn(await readFile(join(folder, path), 'utf8')))
            found.set(name, type);
    }
  }
  return found;
};
