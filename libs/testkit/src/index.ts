export { startCephRgw, type CephRgw, type CephRgwOptions } from './ceph-rgw.js';
export { ManualClock, TestLogger, testClock } from './clock.js';
export { natsServerPath, startNats, type NatsServer } from './nats.js';
export { startNatsTap, type NatsTap } from './nats-tap.js';
export { startOtlpReceiver, type CollectedSpan, type OtlpReceiver } from './otlp-receiver.js';
export { freePort, tempDir, type TempDir } from './place.js';
export { postgresText } from './postgres-text.js';
export { postgresPrograms, startPostgres, type PostgresOptions, type PostgresServer } from './postgres.js';
export { startPrometheus, type Prometheus } from './prometheus.js';
export { parsePrometheusText, type Sample, type Scrape } from './prometheus-text.js';
export { recordSpans, type SpanRecorder } from './recorded-spans.js';
export { RunningProcess, spawnService, type SpawnOptions } from './process.js';
export { until } from './wait.js';
export { startTcpProxy, type TcpProxy } from './tcp-proxy.js';
export { startS3Proxy, type ProxyFault, type ProxyRule, type S3Proxy } from './s3-proxy.js';
export {
  LabAdmin,
  startLab,
  type Lab,
  type LabDiskPlan,
  type LabHostInfo,
  type LabLeftovers,
  type LabNewDisk,
  type LabOptions,
  type LabSettings,
  type LabSnapshot,
  type LabVm,
  type LabVmPlan,
  type WorkloadRates,
  type WorkloadStatistics,
} from './lab.js';
export {
  inspectWitness,
  inspectWitnessFiles,
  type DiskBytes,
  type DiskWitness,
  type WitnessReport,
} from './witness.js';
export {
  startCaptureObserver,
  type CaptureObserver,
  type CaptureReference,
  type ExportPlace,
  type WayToExport,
} from './capture-observer.js';
