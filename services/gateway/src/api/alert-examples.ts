import { ids, job, vm } from './examples.js';

const at = '2026-03-02T21:04:10Z';
export const alertId = '0195580e-7a10-7000-8000-000000000080';
export const channelId = '0195580e-7a10-7000-8000-000000000081';

export const alert = {
  id: alertId,
  kind: 'run-failed',
  severity: 'error',
  jobId: ids.job,
  jobName: job.name,
  runId: ids.run,
  vmNames: [vm.name],
  vmCount: 1,
  reasons: ['FULL_FIRST_POINT', 'CAPTURE_LIVE'],
  fault: { code: 'POOL_FULL', message: 'no room in the pool', details: {} },
  text: {
    en: `Job '${job.name}': the run failed; 1 of 1 VMs failed (${vm.name}). POOL_FULL: no room in the pool`,
    'zh-CN': `作业“${job.name}”：运行失败；1 个虚拟机中 1 个失败（${vm.name}）。POOL_FULL: no room in the pool`,
  },
  at,
  acknowledgedAt: null,
  acknowledgedBy: null,
  deliveries: [
    {
      channelId,
      channelName: 'on call',
      state: 'waiting',
      attempts: 2,
      error: 'HTTP 503 Service Unavailable',
      nextAttemptAt: '2026-03-02T21:04:40Z',
      deliveredAt: null,
    },
  ],
};

export const channel = {
  id: channelId,
  name: 'on call',
  enabled: true,
  filter: { kinds: ['run-failed', 'run-partly-failed', 'run-missed'], severities: null },
  settings: {
    type: 'webhook',
    origin: 'https://alerts.example.org',
    caCertificate: null,
    hasHmacSecret: true,
    hasBearerToken: false,
  },
  createdAt: at,
};

export const logLine = {
  seq: 7,
  at,
  level: 'warn',
  itemId: ids.runItem,
  vmName: vm.name,
  code: 'VM_REASON',
  reason: 'BITMAP_MISSING',
  params: {},
  text: {
    en: 'the bitmap of the last point is gone: the disk is read in full and compared',
    'zh-CN': '上一时间点的位图不存在：读取整个硬盘并比较',
  },
};
