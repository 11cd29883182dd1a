import {
  newId,
  type Alert,
  type AlertChannelId,
  type AlertId,
  type JobId,
  type RunId,
} from '@casvault/contracts';
import fc from 'fast-check';
import {
  deliveryLimits,
  mailTextOf,
  noticeOf,
  retryDelayMs,
  subjectOf,
  testNotice,
} from './delivery.rules.js';

const alert = (more: Partial<Alert> = {}): Alert => ({
  id: newId<AlertId>(),
  kind: 'run-failed',
  severity: 'error',
  jobId: newId<JobId>(),
  jobName: 'nightly',
  runId: newId<RunId>(),
  vmNames: ['db'],
  vmCount: 1,
  reasons: [],
  fault: null,
  text: { en: 'it failed', 'zh-CN': '失败' },
  at: '2026-03-01T03:00:00.000Z',
  ...more,
});
const channelId = newId<AlertChannelId>();

describe('H3: sending alerts', () => {
  it('waits longer after each failure, never twice as long as it could, and gives up in the end', () => {
    const { attempts: most, firstDelayMs, longestDelayMs } = deliveryLimits;
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (attempts, chance) => {
          const delay = retryDelayMs(attempts, chance);
          if (attempts >= most) return expect(delay).toBeNull();
          const whole = Math.min(longestDelayMs, firstDelayMs * 2 ** (attempts - 1));
          expect(delay).toBeGreaterThanOrEqual(whole / 2);
          expect(delay).toBeLessThanOrEqual(whole);
        },
      ),
    );
    const delays = Array.from({ length: most - 1 }, (_, i) => retryDelayMs(i + 1, 1) ?? 0);
    expect(delays.reduce((sum, ms) => sum + ms, 0) / 3_600_000).toBeCloseTo(7.4, 1);
  });

  it('has the same key in every attempt, and another for every channel', () => {
    const one = alert();
    expect(noticeOf(one, channelId).key).toBe(`${one.id}:${channelId}`);
    expect(noticeOf(one, newId<AlertChannelId>()).key).not.toBe(noticeOf(one, channelId).key);
  });

  it('puts no line break and no control character into a subject', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 1_000 }), (en) => {
        const subject = subjectOf(noticeOf(alert({ text: { en, 'zh-CN': '' } }), channelId));
        expect(subject).not.toMatch(/\p{Cc}/u);
        expect(subject.length).toBeLessThanOrEqual(200);
      }),
    );
    expect(subjectOf(noticeOf(alert({ text: { en: 'a\r\nBcc: x@y.z', 'zh-CN': '' } }), channelId))).toBe(
      '[Casvault] error: a Bcc: x@y.z',
    );
  });

  it('tells both languages and the facts in a mail, and a test that it is one', () => {
    const text = mailTextOf(noticeOf(alert({ vmCount: 2, reasons: ['CAPTURE_LIVE'] }), channelId));
    expect(text).toMatch(/^it failed\n失败\n\nkind: run-failed\nseverity: error\njob: nightly \(/);
    expect(text).toMatch(/\nVMs: db, …\nreasons: CAPTURE_LIVE\nalert: /);
    const ofPoints = alert({ vmNames: ['db', 'web', 'db'], vmCount: 3 });
    expect(mailTextOf(noticeOf(ofPoints, channelId))).toMatch(/\nVMs: db ×2, web\nalert: /);
    const notice = testNotice(newId<AlertId>(), channelId, new Date(0));
    expect(notice).toMatchObject({ event: 'test', alert: null, at: '1970-01-01T00:00:00.000Z' });
    expect(mailTextOf(notice)).toMatch(/test of an alert channel.*\n.*测试消息/);
  });
});
