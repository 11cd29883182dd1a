import { growthOf, percentile, shapeOf, spreadOf } from './figures.js';

describe('percentiles', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);

  it('are the nearest rank, whatever the order', () => {
    expect(spreadOf(hundred)).toEqual({ count: 100, p50: 50, p95: 95, p99: 99, most: 100 });
  });

  it('of few values are one of them', () => {
    expect(percentile([7], 0.99)).toBe(7);
    expect(percentile([1, 2], 0.5)).toBe(1);
    expect(percentile([1, 2], 0.51)).toBe(2);
  });

  it('of nothing are unknown', () => {
    expect(spreadOf([])).toEqual({ count: 0, p50: null, p95: null, p99: null, most: null });
  });
});

describe('the growth of a figure', () => {
  const sizes = [1_000, 3_000, 10_000];
  const grown = (of: (size: number) => number | null) =>
    growthOf(sizes.map((size) => ({ size, value: of(size) })));

  it('is the power of the size', () => {
    expect(grown((size) => size / 7)).toBeCloseTo(1);
    expect(grown((size) => size ** 2)).toBeCloseTo(2);
    expect(grown(() => 12)).toBeCloseTo(0);
  });

  it('is taken of what is known, and unknown of less than two sizes', () => {
    expect(grown((size) => (size === 3_000 ? null : size))).toBeCloseTo(1);
    expect(grown((size) => (size === 1_000 ? 5 : null))).toBeNull();
    expect(grown(() => 0)).toBeNull();
  });

  it('has a name', () => {
    expect([null, 0.1, 0.5, 1, 1.6].map(shapeOf)).toEqual([
      '',
      'flat',
      'below linear',
      'linear',
      'above linear',
    ]);
  });
});
