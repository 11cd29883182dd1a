import { planSchema, weekdays, type Plan } from '@casvault/contracts';
import fc from 'fast-check';
import { lastDue, nextDue, nextDues, withStart } from './plan.rules.js';
import { duesOf, watchFrom } from './testing/wall-clock.js';

const plan = (fields: object): Plan => planSchema.parse(fields);
const due = (fields: object, zone: string, after: string, count: number): string[] =>
  nextDues(plan(fields), zone, new Date(after), count).map((at) => at.toISOString().replace(':00.000Z', 'Z'));

describe('D7: when a plan is due', () => {
  it('runs a daily time that daylight saving skips once, at the end of the gap', () => {
    const daily = { type: 'daily', time: '02:30' };
    expect(due(daily, 'Europe/Berlin', '2026-03-28T00:00:00Z', 3)).toEqual([
      '2026-03-28T01:30Z',
      '2026-03-29T01:00Z',
      '2026-03-30T00:30Z',
    ]);
  });

  it('runs a daily time that comes twice once, the first time', () => {
    const daily = { type: 'daily', time: '02:30' };
    expect(due(daily, 'Europe/Berlin', '2026-10-24T12:00:00Z', 2)).toEqual([
      '2026-10-25T00:30Z',
      '2026-10-26T01:30Z',
    ]);
  });

  it('runs at midnight where the day begins at one', () => {
    const daily = { type: 'daily', time: '00:00' };
    expect(due(daily, 'America/Sao_Paulo', '2018-11-03T12:00:00Z', 2)).toEqual([
      '2018-11-04T03:00Z',
      '2018-11-05T02:00Z',
    ]);
  });

  it('runs on a day that the calendar of the place lacks, when it is over', () => {
    const daily = { type: 'daily', time: '12:00' };
    expect(due(daily, 'Pacific/Apia', '2011-12-29T00:00:00Z', 3)).toEqual([
      '2011-12-29T22:00Z',
      '2011-12-30T10:00Z',
      '2011-12-30T22:00Z',
    ]);
  });

  it('counts from the start of the window, over midnight, up to its end', () => {
    const hourly = { type: 'hourly', windowStart: '22:00', windowEnd: '03:00', every: 2, unit: 'hours' };
    expect(due(hourly, 'UTC', '2026-01-01T02:00:00Z', 4)).toEqual([
      '2026-01-01T22:00Z',
      '2026-01-02T00:00Z',
      '2026-01-02T02:00Z',
      '2026-01-02T22:00Z',
    ]);
    const inclusive = {
      type: 'hourly',
      windowStart: '08:00',
      windowEnd: '08:50',
      every: 25,
      unit: 'minutes',
    };
    expect(due(inclusive, 'UTC', '2026-01-01T00:00:00Z', 4)).toEqual([
      '2026-01-01T08:00Z',
      '2026-01-01T08:25Z',
      '2026-01-01T08:50Z',
      '2026-01-02T08:00Z',
    ]);
  });

  it('passes over the days that a month lacks, and knows its last', () => {
    const months = [1, 2, 4];
    const monthly = { type: 'monthly', time: '01:00', months, days: [30, 'last'] };
    expect(due(monthly, 'UTC', '2028-01-01T00:00:00Z', 4)).toEqual([
      '2028-01-30T01:00Z',
      '2028-01-31T01:00Z',
      '2028-02-29T01:00Z',
      '2028-04-30T01:00Z',
    ]);
  });

  it('waits eight years for a leap day if it must', () => {
    const leap = { type: 'monthly', time: '00:00', months: [2], days: [29] };
    expect(due(leap, 'UTC', '2096-02-29T00:00:00Z', 1)).toEqual(['2104-02-29T00:00Z']);
  });

  it('knows the first and the last weekday of a month', () => {
    const monthly = {
      type: 'monthly',
      time: '06:00',
      months: [5],
      weeks: ['first', 'last'],
      weekdays: ['friday'],
    };
    expect(due(monthly, 'UTC', '2026-05-01T00:00:00Z', 2)).toEqual([
      '2026-05-01T06:00Z',
      '2026-05-29T06:00Z',
    ]);
  });

  it('counts days and weeks from the start date, and never runs before it', () => {
    const daily = { type: 'daily', time: '12:00', everyDays: 3, startDate: '2026-02-27' };
    expect(due(daily, 'UTC', '2026-01-01T00:00:00Z', 2)).toEqual(['2026-02-27T12:00Z', '2026-03-02T12:00Z']);
    const weekly = {
      type: 'weekly',
      time: '12:00',
      everyWeeks: 2,
      weekdays: ['monday', 'friday'],
      startDate: '2026-02-25',
    };
    expect(due(weekly, 'UTC', '2026-01-01T00:00:00Z', 3)).toEqual([
      '2026-02-27T12:00Z',
      '2026-03-09T12:00Z',
      '2026-03-13T12:00Z',
    ]);
  });

  it('is kept with the day from which it counts, the one at the backup host', () => {
    const kept = withStart(
      plan({ type: 'daily', time: '12:00' }),
      'Asia/Shanghai',
      new Date('2026-01-01T20:00:00Z'),
    );
    expect(kept).toMatchObject({ startDate: '2026-01-02' });
  });

  it('is due once at the time of `once`, and never without a clock', () => {
    const once = { type: 'once', at: '2026-06-01T02:00' };
    expect(due(once, 'Asia/Shanghai', '2026-05-01T00:00:00Z', 3)).toEqual(['2026-05-31T18:00Z']);
    expect(nextDue(plan({ type: 'immediate' }), 'UTC', new Date(0))).toBeNull();
    expect(nextDue(plan({ type: 'manual' }), 'UTC', new Date(0))).toBeNull();
  });
});

/** Six days each: around changes of clocks, leap days, ends of months and years. */
const windows = [
  ['Europe/Berlin', '2026-03-26'],
  ['Europe/Berlin', '2026-10-22'],
  ['America/New_York', '2026-03-06'],
  ['America/New_York', '2026-10-30'],
  ['Australia/Lord_Howe', '2026-04-02'],
  ['Australia/Lord_Howe', '2026-10-02'],
  ['America/Sao_Paulo', '2018-02-15'],
  ['America/Sao_Paulo', '2018-11-01'],
  ['Pacific/Apia', '2011-12-27'],
  ['Africa/Casablanca', '2026-02-13'],
  ['America/Caracas', '2016-04-29'],
  ['Asia/Shanghai', '2028-02-26'],
  ['Asia/Kathmandu', '2027-02-25'],
  ['UTC', '2025-12-28'],
  ['UTC', '2100-02-25'],
] as const;

const watched = windows.map(([zone, date]) => {
  const from = Date.parse(date);
  return {
    zone,
    from,
    to: from + 6 * 86_400_000,
    reached: watchFrom(zone, from - 2 * 86_400_000, from + 6 * 86_400_000),
  };
});

const some = <T>(values: readonly T[]) => fc.uniqueArray(fc.constantFrom(...values), { minLength: 1 });
const twoDigits = (n: number) => String(n).padStart(2, '0');
const time = fc
  .oneof(fc.integer({ min: 0, max: 1439 }), fc.constantFrom(0, 30, 60, 119, 120, 150, 180, 1380, 1439))
  .map((minutes) => `${twoDigits(Math.floor(minutes / 60))}:${twoDigits(minutes % 60)}`);
const startDate = fc
  .integer({ min: -400, max: 4 })
  .map((days) => (from: number) => new Date(from + days * 86_400_000).toISOString().slice(0, 10));
const anyMonth = fc.uniqueArray(fc.integer({ min: 1, max: 12 }), { minLength: 6 });

/** Plans of every recurring type; the start date depends on when it is looked at. */
const recurring = fc.oneof(
  fc
    .record({
      type: fc.constant('hourly'),
      windowStart: time,
      windowEnd: time,
      every: fc.oneof(fc.integer({ min: 1, max: 24 }), fc.constantFrom(25, 30, 45, 90, 1440)),
      unit: fc.constantFrom('hours', 'minutes'),
    })
    .map((fields) => () => fields),
  fc
    .record({ time, everyDays: fc.integer({ min: 1, max: 5 }), startDate })
    .map(({ startDate: at, ...fields }) => (from: number) => ({
      type: 'daily',
      ...fields,
      startDate: at(from),
    })),
  fc
    .record({ time, everyWeeks: fc.integer({ min: 1, max: 3 }), weekdays: some(weekdays), startDate })
    .map(({ startDate: at, ...fields }) => (from: number) => ({
      type: 'weekly',
      ...fields,
      startDate: at(from),
    })),
  fc
    .record({ time, months: anyMonth, days: some([1, 26, 27, 28, 29, 30, 31, 'last'] as const) })
    .map((fields) => () => ({ type: 'monthly', ...fields })),
  fc
    .record({
      time,
      months: anyMonth,
      weeks: some(['first', 'second', 'third', 'fourth', 'last'] as const),
      weekdays: some(weekdays),
    })
    .map((fields) => () => ({ type: 'monthly', ...fields })),
);

/** A plan that the schema takes, with a place and six days in which to look at it. */
const looked = fc
  .tuple(recurring, fc.constantFrom(...watched))
  .map(([planAt, place]) => ({ place, parsed: planSchema.safeParse(planAt(place.from)) }))
  .filter(({ parsed }) => parsed.success)
  .map(({ place, parsed }) => ({ place, plan: parsed.data as Plan }));

describe('D7: against a clock that is watched minute by minute', () => {
  it('is due at exactly the instants at which the clock first reaches what the plan names', () => {
    fc.assert(
      fc.property(looked, ({ place, plan: given }) => {
        const expected = duesOf(given, place.reached).filter((at) => at > place.from);
        const dues: number[] = [];
        for (
          let at = nextDue(given, place.zone, new Date(place.from));
          at !== null && at.getTime() <= place.to;
        ) {
          dues.push(at.getTime());
          at = nextDue(given, place.zone, at);
        }
        expect(dues).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  it('finds the latest due as it finds the next', () => {
    fc.assert(
      fc.property(looked, fc.double({ min: 0, max: 1, noNaN: true }), ({ place, plan: given }, part) => {
        const until = place.from + Math.floor((part * (place.to - place.from)) / 30_000) * 30_000;
        const expected =
          duesOf(given, place.reached).findLast((at) => at > place.from && at <= until) ?? null;
        const found = lastDue(given, place.zone, new Date(place.from), new Date(until));
        expect(found?.getTime() ?? null).toBe(expected);
      }),
      { numRuns: 300 },
    );
  });
});
