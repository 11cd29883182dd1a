import { type Run } from '@casvault/contracts';
import { spreadOf } from './figures.js';
import { goalsOf, isMet } from './goals.js';
import { report } from './report.js';
import { type Timed } from './stopwatch.js';
import { summaryOf, type Figures } from './trial.js';
import { services } from './usage.js';

const timed = (...ms: number[]): Timed => ({ ...spreadOf(ms), failed: 0, firstFault: null });

const at = (vms: number, changed: Partial<Figures> = {}): Figures => ({
  size: { vms, jobs: vms / 10, movers: 100, minutes: 2, duePerMinute: vms / 250 },
  firstSyncS: vms / 500,
  nextSyncS: 1,
  creation: timed(20),
  routes: new Map([
    ['list VMs', timed(10, 20)],
    ['get run', timed(vms / 100)],
  ]),
  calls: spreadOf([10, 20, vms / 100]),
  delays: spreadOf([200, 900]),
  runs: { expected: 2, begun: 2, succeeded: 2 },
  items: { count: 20, perS: 4 },
  scrapes: new Map([['scheduler', timed(vms / 200)]]),
  usage: new Map(services.map((name, index) => [name, { cpuS: index, peakMiB: 100 + index }] as const)),
  watchedS: 120,
  othersCpuS: 0.5,
  lateMs: 1,
  ...changed,
});

describe('what the control plane is held to', () => {
  it('is told of the slowest route and the largest service', () => {
    expect(goalsOf(at(10_000)).map(({ what, value }) => [what, value])).toEqual([
      ['scheduling delay, p99', 0.9],
      ['API, p99 of the slowest route (get run)', 100],
      ['peak memory of the largest service (data-mover)', 105],
    ]);
    expect(goalsOf(at(10_000)).every(isMet)).toBe(true);
  });

  it('is missed when a figure is above its bound, a run was not begun, or a request failed', () => {
    const missed = (changed: Partial<Figures>) => goalsOf(at(10_000, changed)).map((goal) => !isMet(goal));
    expect(missed({ delays: spreadOf([2_001]) })).toEqual([true, false, false]);
    expect(missed({ runs: { expected: 3, begun: 2, succeeded: 2 } })).toEqual([true, false, false]);
    expect(missed({ routes: new Map([['list jobs', { ...timed(1), failed: 1 }]]) })).toEqual([
      false,
      true,
      false,
    ]);
    expect(missed({ usage: new Map([['scheduler', { cpuS: 1, peakMiB: 301 }]]) })).toEqual([
      false,
      false,
      true,
    ]);
  });
});

describe('the report', () => {
  const outcome = { date: '2026-11-22', machine: '2 cores', command: 'make bench-control-plane' };

  it('shows each figure at each size with its growth, and what is missed', () => {
    const slow = at(10_000, { delays: spreadOf([2_500]) });
    const text = report({ ...outcome, sizes: [at(1_000), slow] });
    expect(text).toMatch(/^\| scheduling delay, p99 +\| +2.50 s \| +<= 2 s \| MISSED \|$/m);
    expect(text).toMatch(/^\| get run, p99 +\| +10.0 \| +100.0 \| +1.00 \| +linear \|$/m);
    expect(text).toMatch(/^\| scheduler, p50 +\| +5.0 \| +50.0 \| +1.00 \| +linear \|$/m);
    expect(text).not.toContain('What failed');
  });

  it('names what failed', () => {
    const routes = new Map([['list jobs', { ...timed(1), failed: 2, firstFault: 'too late' }]]);
    expect(report({ ...outcome, sizes: [at(1_000, { routes })] })).toContain(
      '- 1000 VMs, list jobs: 2 failed; the first: too late',
    );
  });
});

describe('what came of the runs', () => {
  const due = '2026-11-22T10:00:00.000Z';
  const run = (seconds: number, changed: Partial<Run> = {}): Run => {
    const startedAt = new Date(Date.parse(due) + seconds * 1_000).toISOString();
    const finishedAt = new Date(Date.parse(due) + 20_000).toISOString();
    const made = { dueAt: due, startedAt, finishedAt, state: 'succeeded', itemCount: 10 } as const;
    return { ...made, ...changed } as Run;
  };

  it('counts runs of plans from their due time, and no others', () => {
    const runs = [run(0.5), run(1.5), run(9, { dueAt: null }), run(3, { state: 'failed' })];
    expect(summaryOf(runs, new Date(due), 4)).toMatchObject({
      delays: { count: 3, p50: 1_500, p99: 3_000 },
      runs: { expected: 4, begun: 3, succeeded: 2 },
      items: { count: 20, perS: 1 },
    });
  });
});
