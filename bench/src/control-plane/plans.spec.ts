import { plansSchema } from '@casvault/contracts';
import { minuteAfter, plansDueAt, plansDueLater } from './plans.js';

const sunday = new Date('2026-11-22T23:58:00Z');

describe('plans of the jobs', () => {
  it('are due at the minute, whatever their kind', () => {
    expect([0, 1, 2, 3, 4].map((index) => plansDueAt(index, sunday)[0])).toEqual([
      { type: 'daily', time: '23:58', everyDays: 1 },
      { type: 'weekly', time: '23:58', everyWeeks: 1, weekdays: ['sunday'] },
      expect.objectContaining({ type: 'monthly', time: '23:58', days: [22] }),
      { type: 'once', at: '2026-11-22T23:58' },
      { type: 'daily', time: '23:58', everyDays: 1 },
    ]);
  });

  it('are ones that the API takes', () => {
    for (let index = 0; index < 50; index += 1)
      for (const plans of [plansDueAt(index, sunday), plansDueLater(index, sunday)])
        expect(plansSchema.safeParse(plans).error).toBeUndefined();
  });

  it('that are for later are due three hours from now at the earliest, thirteen at the latest', () => {
    const times = Array.from({ length: 600 }, (_, index) => plansDueLater(index * 5, sunday)[0]).map(
      (plan) => (plan?.type === 'daily' ? plan.time : ''),
    );
    const sorted = [...new Set(times)].sort();
    expect([sorted[0], sorted.at(-1)]).toEqual(['02:58', '12:53']);
  });
});

describe('the first minute', () => {
  it('is whole and leaves time to make the jobs', () => {
    const now = new Date('2026-11-22T23:58:20.5Z');
    expect(minuteAfter(now, 15_000).toISOString()).toBe('2026-11-22T23:59:00.000Z');
    expect(minuteAfter(now, 45_000).toISOString()).toBe('2026-11-23T00:00:00.000Z');
  });
});
