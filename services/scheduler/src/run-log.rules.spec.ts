import { newId, reasons, runLogTexts, type RunItemId, type RunLogCode } from '@casvault/contracts';
import {
  linesOfItem,
  linesOfRun,
  linesOfUnbegun,
  textOfLine,
  type LoggedItem,
  type NewLine,
} from './run-log.rules.js';

const id = newId<RunItemId>();
const item = (more: Partial<LoggedItem> = {}): LoggedItem => ({
  id,
  vmName: 'db',
  state: 'running',
  phase: 'transferring',
  reasons: [],
  fault: null,
  doneBytes: 10,
  storedBytes: 5,
  ...more,
});
const ended = { succeeded: 0, skipped: 0, failed: 0, stopped: 0 };
const startedAt = '2026-01-01T00:00:00.000Z';
const waiting = [{ itemId: id, host: null }];
const running = { state: 'running', waiting, running: [], ended, startedAt } as const;
const told = (lines: readonly NewLine[]) =>
  lines.map((line) => `${line.level} ${line.vmName ?? 'run'}: ${textOfLine(line).en}`);

describe('the log of a run', () => {
  it('tells how it begins and ends', () => {
    expect(told(linesOfRun(null, running))).toEqual(['info run: the run began with 1 VMs']);
    expect(linesOfRun(running, running)).toEqual([]);
    expect(told(linesOfRun(running, { ...running, state: 'failed' }))).toEqual(['error run: the run failed']);
    const stopped = { ...running, state: 'stopped', waiting: [], ended: { ...ended, stopped: 3 } } as const;
    expect(told(linesOfRun(null, stopped))).toEqual([
      'info run: the run began with 3 VMs',
      'info run: the run was stopped',
    ]);
  });

  it('D7: tells why it was not begun', () => {
    expect(told(linesOfUnbegun('skipped', ['PREVIOUS_RUN_GOES_ON'], null))).toEqual([
      `warn run: ${reasons.PREVIOUS_RUN_GOES_ON.en}`,
    ]);
    expect(
      told(linesOfUnbegun('failed', [], { code: 'NOT_FOUND', message: 'no pool', details: {} })),
    ).toEqual(['error run: the run could not begin: NOT_FOUND: no pool']);
  });

  it('tells each phase and each reason of a VM once', () => {
    const before = item({ phase: 'capturing', reasons: ['CAPTURE_LIVE'] });
    expect(linesOfItem(before, before)).toEqual([]);
    const after = item({ reasons: ['CAPTURE_LIVE', 'BITMAP_MISSING', 'BITMAP_MISSING'] });
    expect(told(linesOfItem(before, after))).toEqual([
      'info db: transferring',
      `warn db: ${reasons.BITMAP_MISSING.en}`,
    ]);
    expect(linesOfItem(after, item({ ...after, doneBytes: 20 }))).toEqual([]);
  });

  it.each([
    ['succeeded', 'info db: succeeded: 10 bytes read, 5 stored'],
    ['skipped', 'warn db: skipped, as the job says'],
    ['failed', 'error db: failed: POOL_FULL: no {room}'],
    ['stopped', 'info db: stopped'],
  ] as const)('tells that a VM has %s, and nothing of what comes after', (state, line) => {
    const fault = { code: 'POOL_FULL', message: 'no {room}', details: {} } as const;
    const after = item({ state, phase: state, fault });
    expect(told(linesOfItem(item(), after))).toEqual([line]);
    expect(linesOfItem(after, after)).toEqual([]);
  });

  it.each(Object.keys(runLogTexts) as RunLogCode[])('%s has words in both languages', (code) => {
    const params = { items: 1, phase: 'captured', doneBytes: 1, storedBytes: 1, code: 'BUG', message: 'm' };
    const text = textOfLine({ code, reason: 'SYSTEM_WAS_DOWN', params });
    for (const words of [text.en, text['zh-CN']]) {
      expect(words).not.toBe('');
      expect(words).not.toMatch(/[{}]/);
    }
  });
});
