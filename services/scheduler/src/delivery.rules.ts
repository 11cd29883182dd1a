import { type Alert, type AlertChannelId, type AlertId, type AlertNotice } from '@casvault/contracts';
import { namedOnce, namesTold } from './alert.rules.js';

/** Every time and bound of sending alerts, in one place. */
export const deliveryLimits = {
  /** One attempt, from the name's look-up to the server's answer. */
  attemptMs: 15_000,
  /** A delivery of a process that died is tried by another after this. */
  leaseMs: 60_000,
  /** At the same time in one process; to one channel about one at a time. */
  atOnce: 4,
  lookEveryMs: 1_000,
  firstDelayMs: 10_000,
  longestDelayMs: 3_600_000,
  /** With the delays between them about six hours. */
  attempts: 16,
} as const;

/** What is sent: an alert, or a test of the channel. */
export interface Notice extends AlertNotice {
  /** For alerts their id and the channel's: the same in every attempt, so that receivers can tell a repetition. */
  readonly key: string;
}

export const noticeOf = (alert: Alert, channelId: AlertChannelId): Notice => ({
  event: 'alert-raised',
  key: `${alert.id}:${channelId}`,
  text: alert.text,
  alert,
  at: alert.at,
});

export const testNotice = (testId: AlertId, channelId: AlertChannelId, now: Date): Notice => ({
  event: 'test',
  key: `${testId}:${channelId}`,
  text: {
    en: 'This is a test of an alert channel of Casvault.',
    'zh-CN': '这是 Casvault 告警通道的测试消息。',
  },
  alert: null,
  at: now.toISOString(),
});

/**
 * Milliseconds until the next attempt after so many failed ones, or null: it is given up. 10 s, doubled each time, at most an
 * hour; of that between half and all, by `chance` (0..1), so that many that failed together do not come back together.
 */
export const retryDelayMs = (attempts: number, chance: number): number | null => {
  const { firstDelayMs, longestDelayMs, attempts: most } = deliveryLimits;
  if (attempts >= most) return null;
  const delay = Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(attempts - 1, 30));
  return Math.round(delay * (0.5 + chance / 2));
};

/** A line for a header, whatever the names in it hold: no line breaks, no control characters, bounded. */
export const subjectOf = ({ text, alert }: Notice): string => {
  const level = alert ? `${alert.severity}: ` : '';
  return `[Casvault] ${level}${text.en}`.replace(/\p{Cc}+/gu, ' ').slice(0, 200);
};

const vmsOf = ({ vmNames, vmCount }: Alert): string => {
  const { shown, count } = namedOnce(vmNames, namesTold);
  return [...shown, ...(vmCount > count ? ['…'] : [])].join(', ');
};

/** The body of an e-mail: both languages, then the facts. */
export const mailTextOf = ({ text, alert, at }: Notice): string => {
  const facts: readonly (readonly [string, string])[] = alert
    ? [
        ['kind', alert.kind],
        ['severity', alert.severity],
        ['job', `${alert.jobName} (${alert.jobId})`],
        ['run', alert.runId],
        ['VMs', vmsOf(alert)],
        ['reasons', alert.reasons.join(', ')],
        ['alert', alert.id],
      ]
    : [];
  const lines = facts.filter(([, value]) => value !== '').map(([name, value]) => `${name}: ${value}`);
  return [text.en, text['zh-CN'], '', ...lines, `at: ${at}`, ''].join('\n');
};
