import { type DiskProgress, type RunItem } from '@casvault/contracts';
import fc from 'fast-check';
import { etaOfRun, pacesOf, timedItem, type Paces } from './eta.rules.js';

const disk = (doneBytes: number, fields: Partial<DiskProgress> = {}): DiskProgress => ({
  target: 'vda',
  totalBytes: 1_000_000,
  doneBytes,
  storedBytes: 0,
  resumedBytes: 0,
  ...fields,
});
/** Heard of one disk at these seconds. */
const heard = (news: readonly (readonly [second: number, disk: DiskProgress])[]): Paces =>
  news.reduce<Paces>((paces, [second, one]) => pacesOf(paces, [one], second * 1_000), {});
const told = (paces: Paces, now: DiskProgress) => timedItem('running', [now], paces);

describe('G15: the time that is left', () => {
  it('of a steady transfer is within 20 % from a tenth on, however often it is heard of', () => {
    const gaps = fc.array(fc.double({ min: 0.2, max: 20, noNaN: true }), { minLength: 2, maxLength: 40 });
    const rate = fc.integer({ min: 100_000, max: 2_000_000_000 });
    const part = fc.double({ min: 0.1, max: 0.99, noNaN: true });
    fc.assert(
      fc.property(gaps, rate, part, fc.nat(1_000_000_000), (waits, bytesPerSecond, done, resumedBytes) => {
        const seconds = waits.reduce<number[]>((all, wait) => [...all, (all.at(-1) ?? 0) + wait], [0]);
        const last = seconds.at(-1) ?? 0;
        const at = (second: number) => Math.round(second * bytesPerSecond) + resumedBytes;
        const totalBytes = Math.max(at(last) + 1, Math.floor(at(last) / done));
        const news = seconds.map(
          (second) => [second, disk(at(second), { totalBytes, resumedBytes })] as const,
        );
        fc.pre(last >= 0.5);
        const left = (totalBytes - at(last)) / bytesPerSecond;
        const { etaSeconds = null } = told(heard(news), disk(at(last), { totalBytes, resumedBytes }));
        if (at(last) < totalBytes * 0.1) return expect(etaSeconds).toBeNull();
        expect(etaSeconds).toBeGreaterThanOrEqual(left * 0.8);
        expect(etaSeconds).toBeLessThanOrEqual(left * 1.2 + 1);
      }),
    );
  });

  it('is not told before a tenth, without a size, or before the speed was measured', () => {
    const paces = heard([
      [0, disk(0)],
      [1, disk(99_999)],
    ]);
    expect(told(paces, disk(99_999))).toMatchObject({ etaSeconds: null });
    expect(told(paces, disk(100_000))).toMatchObject({ etaSeconds: 10 });
    expect(told(paces, disk(500_000, { totalBytes: null }))).toMatchObject({ etaSeconds: null });
    expect(told(heard([[0, disk(500_000)]]), disk(500_000))).toMatchObject({ etaSeconds: null });
    expect(timedItem('running', [], {}).etaSeconds).toBeNull();
  });

  it('grows while nothing moves, and is not told of what stands still', () => {
    const slow = heard([
      [0, disk(0)],
      [10, disk(500_000)],
      [40, disk(500_000)],
    ]);
    expect(told(slow, disk(500_000)).etaSeconds).toBeGreaterThan(20);
    const still = heard([
      [0, disk(500_000)],
      [10, disk(500_000)],
    ]);
    expect(told(still, disk(500_000)).etaSeconds).toBeNull();
    expect(told(still, disk(1_000_000)).etaSeconds).toBe(0);
  });

  it('follows a change of speed within a minute or two', () => {
    const paces = heard([
      [0, disk(0)],
      [10, disk(100_000)],
      ...Array.from({ length: 12 }, (_, n) => [20 + n * 10, disk(101_000 + n * 1_000)] as const),
    ]);
    expect(told(paces, disk(112_000)).progress[0]?.bytesPerSecond).toBeLessThan(500);
  });

  it('is measured anew when a capture is lost and the disk begins again', () => {
    const paces = heard([
      [0, disk(0)],
      [10, disk(900_000)],
      [11, disk(0)],
    ]);
    expect(paces['vda']).toMatchObject({ bytesPerSecond: null });
  });

  it('does not take for speed what an earlier attempt has moved', () => {
    const paces = heard([
      [0, disk(0)],
      [10, disk(700_000, { resumedBytes: 600_000 })],
    ]);
    expect(paces['vda']).toMatchObject({ bytesPerSecond: 10_000 });
  });

  it('of a VM is that of its slowest disk, and nobody’s once it has ended', () => {
    const two = (second: number, slow: number) => [
      disk(second * 100_000),
      disk(second * slow, { target: 'vdb' }),
    ];
    const paces = pacesOf(pacesOf({}, two(0, 50_000), 0), two(4, 50_000), 4_000);
    const item = timedItem('running', two(4, 50_000), paces);
    expect([item.etaSeconds, ...item.progress.map(({ etaSeconds }) => etaSeconds)]).toEqual([16, 6, 16]);
    const ended = timedItem('succeeded', two(4, 50_000), paces);
    expect([ended.etaSeconds, ended.progress[0]?.bytesPerSecond]).toEqual([null, null]);
    expect(
      timedItem('running', [...two(4, 50_000), disk(0, { target: 'vdc' })], paces).etaSeconds,
    ).toBeNull();
  });

  it.each<[string, [RunItem['state'], number | null][], number, number | null]>([
    [
      'its slowest item',
      [
        ['running', 5],
        ['running', 90],
        ['succeeded', null],
      ],
      3,
      90,
    ],
    [
      'nobody’s while an item waits',
      [
        ['running', 5],
        ['queued', null],
      ],
      2,
      null,
    ],
    [
      'nobody’s while one is not known',
      [
        ['running', 5],
        ['running', null],
      ],
      2,
      null,
    ],
    ['nobody’s when it is over', [['failed', null]], 1, null],
    ['nobody’s where items are not shown', [['running', 5]], 2, null],
  ])('of a run is that of %s', (_, items, itemCount, expected) => {
    const shown = items.map(([state, etaSeconds]) => ({ state, etaSeconds }));
    expect(etaOfRun(shown, itemCount)).toBe(expected);
  });
});
