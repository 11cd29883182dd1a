import {
  idFrom,
  reasons as reasonTexts,
  type Alert,
  type AlertFilter,
  type AlertId,
  type AlertKind,
  type AlertSeverity,
  type Bilingual,
  type FaultJson,
  type JobDefinition,
  type JobId,
  type ReasonCode,
  type Run,
  type RunId,
} from '@casvault/contracts';

/** More names than these are not told. */
export const namesTold = 100;
const namesInText = 5;

/** VMs of a run that were not backed up or restored; of a verify or copy job the VMs of the points that were not found sound or not copied, one for each point. */
export interface FailedVms {
  readonly count: number;
  /** The first `namesTold` of them, in the order of the run. */
  readonly names: readonly string[];
  readonly reasons: readonly ReasonCode[];
  /** The first one's. */
  readonly fault: FaultJson | null;
}

/** A run that is over, as its alerts see it. */
export interface EndedRun {
  readonly id: RunId;
  readonly jobId: JobId;
  readonly jobName: string;
  readonly kind: JobDefinition['kind'];
  readonly state: Run['state'];
  readonly dueAt: string | null;
  readonly reasons: readonly ReasonCode[];
  readonly fault: FaultJson | null;
  readonly itemCount: number;
  readonly finishedAt: string;
  readonly failed: FailedVms;
  /** Of those that failed, the ones that `cbt.fallback` passed over with an alert. */
  readonly passedOver: FailedVms;
}

const kinds: Partial<Record<Run['state'], AlertKind>> = {
  failed: 'run-failed',
  'partly failed': 'run-partly-failed',
  skipped: 'run-skipped',
  missed: 'run-missed',
};

const severities: Record<AlertKind, AlertSeverity> = {
  'run-failed': 'error',
  'run-partly-failed': 'error',
  'run-missed': 'error',
  'run-skipped': 'warning',
  'vm-skipped': 'warning',
};

/** E7: the target has all that there is to copy, which is what the job is for. */
const hasNothingLeft = ({ state, reasons }: EndedRun): boolean =>
  state === 'skipped' && reasons.length === 1 && reasons[0] === 'NOTHING_TO_COPY';

/** H3: what has to be told of a run that is over; the same of the same run, with the same ids, whoever asks when. */
export const alertsOf = (run: EndedRun): Alert[] => {
  const kind = hasNothingLeft(run) ? undefined : kinds[run.state];
  const alerts: Alert[] = [];
  if (kind === 'run-failed' || kind === 'run-partly-failed')
    alerts.push(alertOf(run, kind, { ...run.failed, fault: run.fault ?? run.failed.fault }));
  else if (kind) alerts.push(alertOf(run, kind, { count: 0, names: [], reasons: run.reasons, fault: null }));
  if (run.passedOver.count > 0)
    alerts.push(alertOf(run, 'vm-skipped', { ...run.passedOver, reasons: ['SKIPPED_WITHOUT_CBT'] }));
  return alerts;
};

const alertOf = (run: EndedRun, kind: AlertKind, vms: FailedVms): Alert => ({
  id: idFrom<AlertId>(run.id, kind),
  kind,
  severity: severities[kind],
  jobId: run.jobId,
  jobName: run.jobName,
  runId: run.id,
  vmNames: [...vms.names],
  vmCount: vms.count,
  reasons: [...vms.reasons],
  fault: vms.fault,
  text: textOf(run, kind, vms),
  at: run.finishedAt,
});

/** Names come from people and platforms: one line, whatever is in them. */
const plain = (text: string): string => text.replace(/\p{Cc}+/gu, ' ');

/** The first `most` of the names, each once, in their order: a VM of which two points are concerned is `db ×2`. `count`: of how many it tells. */
export const namedOnce = (
  names: readonly string[],
  most: number,
): { readonly shown: readonly string[]; readonly count: number } => {
  const times = new Map<string, number>();
  for (const name of names) times.set(name, (times.get(name) ?? 0) + 1);
  const told = [...times].slice(0, most);
  return {
    shown: told.map(([name, count]) => (count === 1 ? name : `${name} ×${count}`)),
    count: told.reduce((sum, [, count]) => sum + count, 0),
  };
};

const namesOf = ({ names, count }: FailedVms): Bilingual => {
  const { shown, count: told } = namedOnce(names.map(plain), namesInText);
  const isAll = told === count;
  return {
    en: shown.join(', ') + (isAll ? '' : ` and ${count - told} more`),
    'zh-CN': shown.join('、') + (isAll ? '' : ` 等 ${count} 个`),
  };
};

const causeOf = ({ fault }: FailedVms): string =>
  fault ? `${fault.code}: ${plain(fault.message)}` : 'no cause was told';

const textOf = (run: EndedRun, kind: AlertKind, vms: FailedVms): Bilingual => {
  const job = plain(run.jobName);
  const words =
    kind === 'run-skipped' || kind === 'run-missed' ? unbegunText(run) : failedText(run, kind, vms);
  return { en: `Job '${job}': ${words.en}`, 'zh-CN': `作业“${job}”：${words['zh-CN']}` };
};

const unbegunText = ({ dueAt, reasons }: EndedRun): Bilingual => {
  const texts = reasons.map((reason): Bilingual => reasonTexts[reason]);
  return {
    en: `run due at ${dueAt ?? 'an unknown time'}: ${texts.map(({ en }) => en).join('; ')}`,
    'zh-CN': `计划于 ${dueAt ?? '未知时间'} 的运行：${texts.map((text) => text['zh-CN']).join('；')}`,
  };
};

const failedText = ({ itemCount, kind: jobKind }: EndedRun, kind: AlertKind, vms: FailedVms): Bilingual => {
  const cause = causeOf(vms);
  if (itemCount === 0) return { en: `the run could not begin. ${cause}`, 'zh-CN': `运行无法启动。${cause}` };
  const names = namesOf(vms);
  const isOfPoints = jobKind === 'verify' || jobKind === 'copy';
  const of = isOfPoints ? { en: 'points', 'zh-CN': '时间点' } : { en: 'VMs', 'zh-CN': '虚拟机' };
  const share = {
    en: `${vms.count} of ${itemCount} ${of.en}`,
    'zh-CN': `${itemCount} 个${of['zh-CN']}中 ${vms.count} 个`,
  };
  if (kind === 'vm-skipped')
    return {
      en: `${share.en} not backed up (${names.en}): ${reasonTexts.SKIPPED_WITHOUT_CBT.en}`,
      'zh-CN': `${share['zh-CN']}未备份（${names['zh-CN']}）：${reasonTexts.SKIPPED_WITHOUT_CBT['zh-CN']}`,
    };
  return {
    en: `${kind === 'run-failed' ? 'the run failed' : 'the run failed in part'}; ${share.en} failed (${names.en}). ${cause}`,
    'zh-CN': `${kind === 'run-failed' ? '运行失败' : '运行部分失败'}；${share['zh-CN']}失败（${names['zh-CN']}）。${cause}`,
  };
};

/** Whether a channel takes the alert. */
export const passes = (
  { kinds: wanted, severities: grave }: AlertFilter,
  { kind, severity }: Pick<Alert, 'kind' | 'severity'>,
): boolean => (wanted?.includes(kind) ?? true) && (grave?.includes(severity) ?? true);
