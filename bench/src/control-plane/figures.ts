/** What was measured of something that happened often. Null: it never happened. */
export interface Spread {
  readonly count: number;
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
  readonly most: number | null;
}

/** The nearest-rank percentile: the least value that at least `share` (above 0, at most 1) of all do not exceed. Null of no values. */
export function percentile(values: readonly number[], share: number): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null;
}

export const spreadOf = (values: readonly number[]): Spread => ({
  count: values.length,
  p50: percentile(values, 0.5),
  p95: percentile(values, 0.95),
  p99: percentile(values, 0.99),
  most: percentile(values, 1),
});

/** A figure at a size. */
export interface Sized {
  readonly size: number;
  readonly value: number | null;
}

/**
 * The power of the size with which a figure grows: 0 does not grow, 1 in proportion, 2 with its square. The slope of the least squares in
 * logarithms over the sizes at which it is known and above zero; null with fewer than two.
 */
export function growthOf(figures: readonly Sized[]): number | null {
  const logs = figures.flatMap(({ size, value }) =>
    value === null || value <= 0 ? [] : [{ x: Math.log(size), y: Math.log(value) }],
  );
  const mean = (of: (one: { x: number; y: number }) => number): number =>
    logs.reduce((sum, one) => sum + of(one), 0) / logs.length;
  const [x, y] = [mean((one) => one.x), mean((one) => one.y)];
  const across = logs.reduce((sum, one) => sum + (one.x - x) ** 2, 0);
  return across > 0 ? logs.reduce((sum, one) => sum + (one.x - x) * (one.y - y), 0) / across : null;
}

/** The growth in words, with what two figures that differ by chance may differ. */
export function shapeOf(growth: number | null): string {
  if (growth === null) return '';
  if (growth < 0.25) return 'flat';
  if (growth < 0.75) return 'below linear';
  return growth < 1.25 ? 'linear' : 'above linear';
}
