import fc from 'fast-check';
import { rateAt, speedLimitsSchema, type SpeedLimit } from './speed-limit.js';
import { instantOfText, localAt } from './time-zone.js';

const kib = 1_024;
const limit = (from: string, to: string, rate: number, more: Partial<SpeedLimit> = {}): SpeedLimit => ({
  from,
  to,
  rate,
  unit: 'KiB/s',
  appliesTo: 'transfer',
  ...more,
});
const refusal = (limits: readonly unknown[]): { path: PropertyKey[]; message: string }[] =>
  speedLimitsSchema.safeParse(limits).error?.issues.map(({ path, message }) => ({ path, message })) ?? [];

describe('a list of speed limits', () => {
  it.each([
    [64, 'KiB/s', true],
    [63, 'KiB/s', false],
    [1, 'MiB/s', true],
    [0, 'MiB/s', false],
    [1.5, 'MiB/s', false],
    [1_024, 'GiB/s', true],
    [1_025, 'GiB/s', false],
    [1, 'B/s', false],
  ])('takes a rate of %d %s: %s', (rate, unit, taken) => {
    expect(speedLimitsSchema.safeParse([{ ...limit('00:00', '00:00', 1), rate, unit }]).success).toBe(taken);
  });

  it.each(['24:00', '7:00', '12:60', ''])('refuses %s as a time of day', (time) => {
    expect(refusal([limit(time, '08:00', 64)])[0]?.path).toEqual([0, 'from']);
    expect(refusal([limit('08:00', time, 64)])[0]?.path).toEqual([0, 'to']);
  });

  it('refuses windows of one kind that overlap, and names both', () => {
    const issues = refusal([
      limit('22:00', '06:00', 64),
      limit('08:00', '09:00', 64),
      limit('05:59', '07:00', 64),
    ]);
    expect(issues).toEqual([
      {
        path: [2],
        message: '05:59-07:00 overlaps 22:00-06:00, window 0 of the list: both limit transfer',
      },
    ]);
  });

  it('takes windows that touch, and overlapping ones of different kinds', () => {
    const disk = { appliesTo: 'disk' } as const;
    expect(refusal([limit('22:00', '06:00', 64), limit('06:00', '22:00', 64)])).toEqual([]);
    expect(refusal([limit('00:00', '00:00', 64), limit('00:00', '00:00', 64, disk)])).toEqual([]);
    expect(refusal([limit('08:00', '08:00', 64), limit('12:00', '12:01', 64)])).toHaveLength(1);
  });
});

describe('the rate at a minute of the day', () => {
  const text = (minute: number): string =>
    `${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(minute % 60).padStart(2, '0')}`;
  const minutes = fc.integer({ min: 0, max: 1_439 });

  it('is that of the window, over midnight too, and no limit outside of it', () => {
    fc.assert(
      fc.property(minutes, minutes, minutes, (from, to, at) => {
        const length = (to - from + 1_440) % 1_440 || 1_440;
        const within = (at - from + 1_440) % 1_440 < length;
        const rate = rateAt([limit(text(from), text(to), 64)], 'transfer', at);
        expect(rate).toBe(within ? 64 * kib : null);
      }),
    );
  });

  it('is one at most for each kind in every list that is taken', () => {
    const any = fc.record({ from: minutes, to: minutes, disk: fc.boolean() });
    fc.assert(
      fc.property(fc.array(any, { maxLength: 6 }), minutes, (drawn, at) => {
        const limits = drawn.map(({ from, to, disk }, i) =>
          limit(text(from), text(to), 64 + i, { appliesTo: disk ? 'disk' : 'transfer' }),
        );
        const holding = limits.filter((one) => rateAt([one], one.appliesTo, at) !== null);
        const kinds = new Set(holding.map(({ appliesTo }) => appliesTo));
        if (speedLimitsSchema.safeParse(limits).success) expect(holding.length).toBe(kinds.size);
      }),
    );
  });

  it('follows the clock on the wall over a change to and from daylight-saving time', () => {
    const limits = [limit('02:00', '03:00', 64)];
    const zone = 'Europe/Berlin';
    const at = (utc: string) => {
      const local = localAt(zone, Date.parse(utc));
      return rateAt(limits, 'transfer', Math.floor(local / 60_000) % 1_440);
    };
    // The hour is skipped in spring, and comes twice in autumn.
    expect([at('2026-03-29T00:59:59Z'), at('2026-03-29T01:00:00Z')]).toEqual([null, null]);
    const autumn = [
      '2026-10-24T23:59:59Z',
      '2026-10-25T00:00:00Z',
      '2026-10-25T01:59:59Z',
      '2026-10-25T02:00:00Z',
    ];
    expect(autumn.map(at)).toEqual([null, 64 * kib, 64 * kib, null]);
    expect(instantOfText(zone, '2026-10-25T02:00')).toBe(Date.parse('2026-10-25T00:00:00Z'));
  });

  it('counts units as powers of two', () => {
    const rate = (unit: SpeedLimit['unit']) => rateAt([limit('00:00', '00:00', 64, { unit })], 'transfer', 0);
    expect([rate('KiB/s'), rate('MiB/s'), rate('GiB/s')]).toEqual([64 * kib, 64 * kib ** 2, 64 * kib ** 3]);
    expect(rateAt([limit('00:00', '00:00', 64)], 'disk', 0)).toBeNull();
  });
});
