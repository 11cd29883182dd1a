import { newId, type JobId, type RunId } from '@casvault/contracts';
import fc from 'fast-check';
import { alertsOf, passes, type EndedRun, type FailedVms } from './alert.rules.js';

const none: FailedVms = { count: 0, names: [], reasons: [], fault: null };
const full: FailedVms = {
  count: 2,
  names: ['db', 'web'],
  reasons: ['CAPTURE_LIVE'],
  fault: { code: 'POOL_FULL', message: 'no room', details: {} },
};
const run = (more: Partial<EndedRun>): EndedRun => ({
  id: newId<RunId>(),
  jobId: newId<JobId>(),
  jobName: 'nightly',
  kind: 'backup',
  state: 'succeeded',
  dueAt: '2026-03-01T02:00:00.000Z',
  reasons: [],
  fault: null,
  itemCount: 5,
  finishedAt: '2026-03-01T03:00:00.000Z',
  failed: none,
  passedOver: none,
  ...more,
});

describe('H3: alerts of a run that is over', () => {
  it.each([
    ['succeeded', []],
    ['stopped', []],
    ['failed', ['run-failed error']],
    ['partly failed', ['run-partly-failed error']],
    ['skipped', ['run-skipped warning']],
    ['missed', ['run-missed error']],
  ] as const)('%s: %j', (state, expected) => {
    const alerts = alertsOf(run({ state, failed: full, reasons: ['SYSTEM_WAS_DOWN'] }));
    expect(alerts.map(({ kind, severity }) => `${kind} ${severity}`)).toEqual(expected);
  });

  it('E7: a target that has everything is nothing to worry about; a run that was passed over is', () => {
    const skipped = (reason: 'NOTHING_TO_COPY' | 'PREVIOUS_RUN_GOES_ON') =>
      alertsOf(run({ kind: 'copy', state: 'skipped', reasons: [reason], itemCount: 0 })).length;
    expect([skipped('NOTHING_TO_COPY'), skipped('PREVIOUS_RUN_GOES_ON')]).toEqual([0, 1]);
  });

  it('names the VMs and the cause, in both languages', () => {
    const [alert] = alertsOf(run({ state: 'partly failed', failed: full }));
    expect(alert).toMatchObject({ vmNames: ['db', 'web'], vmCount: 2, fault: { code: 'POOL_FULL' } });
    expect(alert?.text).toEqual({
      en: "Job 'nightly': the run failed in part; 2 of 5 VMs failed (db, web). POOL_FULL: no room",
      'zh-CN': '作业“nightly”：运行部分失败；5 个虚拟机中 2 个失败（db、web）。POOL_FULL: no room',
    });
  });

  it.each(['verify', 'copy'] as const)('E7, E8: names the points of a %s job by their VMs', (kind) => {
    const [alert] = alertsOf(run({ kind, state: 'partly failed', failed: full }));
    expect(alert?.text.en).toMatch(/; 2 of 5 points failed \(db, web\)\. /);
    expect(alert?.text['zh-CN']).toMatch(/；5 个时间点中 2 个失败/);
  });

  it('E8: names a VM of which several points failed once, with their number', () => {
    const names = ['db', 'web', 'db', 'mail', 'db'];
    const textOf = (failed: Partial<FailedVms>) =>
      alertsOf(run({ kind: 'verify', state: 'failed', itemCount: 9, failed: { ...full, ...failed } }))[0]
        ?.text;
    expect(textOf({ names, count: 5 })?.en).toMatch(/; 5 of 9 points failed \(db ×3, web, mail\)\. /);
    expect(textOf({ names, count: 5 })?.['zh-CN']).toMatch(/5 个失败（db ×3、web、mail）。/);
    const many = [...names, 'a', 'b', 'a', 'c', 'a'];
    expect(textOf({ names: many, count: 12 })?.en).toMatch(/\(db ×3, web, mail, a ×3, b and 3 more\)\. /);
  });

  it('D7: says why a run was not begun, and when it was due', () => {
    const [skipped] = alertsOf(run({ state: 'skipped', reasons: ['PREVIOUS_RUN_GOES_ON'], itemCount: 0 }));
    expect(skipped?.text.en).toMatch(/due at 2026-03-01T02:00:00.000Z: skipped: the last run/);
    expect(skipped?.text['zh-CN']).toMatch(/计划于 2026-03-01T02:00:00.000Z 的运行：已跳过/);
    const fault = { code: 'NOT_FOUND', message: 'there is no pool', details: {} } as const;
    const [failed] = alertsOf(run({ state: 'failed', fault, itemCount: 0 }));
    expect(failed?.text.en).toBe("Job 'nightly': the run could not begin. NOT_FOUND: there is no pool");
  });

  it('tells VMs that were skipped with an alert apart', () => {
    const alerts = alertsOf(
      run({ state: 'partly failed', failed: full, passedOver: { ...full, count: 1, names: ['db'] } }),
    );
    expect(alerts.map(({ kind }) => kind)).toEqual(['run-partly-failed', 'vm-skipped']);
    expect(alerts[1]).toMatchObject({
      severity: 'warning',
      vmNames: ['db'],
      reasons: ['SKIPPED_WITHOUT_CBT'],
    });
    expect(alerts[1]?.text.en).toMatch(/1 of 5 VMs not backed up \(db\): no valid CBT/);
  });

  it('is the same with the same ids whenever it is asked for, and other runs have others', () => {
    const ended = run({ state: 'failed', failed: full, passedOver: full });
    expect(alertsOf(ended)).toEqual(alertsOf(ended));
    const ids = [...alertsOf(ended), ...alertsOf({ ...ended, id: newId<RunId>() })].map(({ id }) => id);
    expect(new Set(ids).size).toBe(4);
  });

  it('is one line of bounded length, whatever people call their jobs and VMs', () => {
    const name = fc.string({ unit: 'binary', maxLength: 300 });
    fc.assert(
      fc.property(name, fc.array(name, { minLength: 1, maxLength: 100 }), (jobName, names) => {
        const failed = { ...full, names, count: names.length };
        for (const { text } of alertsOf(run({ state: 'failed', jobName, failed, passedOver: failed })))
          for (const words of [text.en, text['zh-CN']]) {
            expect(words).not.toMatch(/\p{Cc}/u);
            expect(words.length).toBeLessThan(2_500);
          }
      }),
    );
  });

  it('goes to the channels that want it', () => {
    const alert = { kind: 'run-failed', severity: 'error' } as const;
    expect(passes({ kinds: null, severities: null }, alert)).toBe(true);
    expect(passes({ kinds: ['run-failed'], severities: ['error'] }, alert)).toBe(true);
    expect(passes({ kinds: ['run-missed'], severities: null }, alert)).toBe(false);
    expect(passes({ kinds: null, severities: ['warning'] }, alert)).toBe(false);
  });
});
