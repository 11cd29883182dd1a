/**
 * Clocks on the wall. A local time is the number of milliseconds that UTC would show as the same date and time, so that
 * local times are counted and compared as numbers; days are counted from 1970-01-01.
 */

export const minuteMs = 60_000;
export const dayMs = 86_400_000;

const formats = new Map<string, Intl.DateTimeFormat>();

const formatOf = (zone: string): Intl.DateTimeFormat => {
  const known = formats.get(zone);
  if (known) return known;
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    calendar: 'iso8601',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  });
  formats.set(zone, format);
  return format;
};

/** By the zone data of this machine, for instants from 1970 on. */
const measure = (zone: string, instant: number): number => {
  const parts = new Map<string, number>(
    formatOf(zone)
      .formatToParts(instant)
      .map(({ type, value }) => [type, Number(value)]),
  );
  const of = (type: string): number => parts.get(type) ?? 0;
  const local = Date.UTC(of('year'), of('month') - 1, of('day'), of('hour'), of('minute'), of('second'));
  return local - Math.floor(instant / 1000) * 1000;
};

/** The first instant in (low, high] whose offset is that of `high`, when it changes once between them. */
const changeBetween = (zone: string, low: number, high: number): number => {
  const after = measure(zone, high);
  let [from, to] = [low, high];
  while (to - from > 1000) {
    const middle = from + Math.floor((to - from) / 2000) * 1000;
    if (measure(zone, middle) === after) to = middle;
    else from = middle;
  }
  return to;
};

interface Stretch {
  readonly from: number;
  readonly offset: number;
}

/** No zone has changed twice within half a day since 1970. */
const sampleMs = dayMs / 2;
const cacheYears = 64;

/** The offsets of the 366 days from `from` on: a few stretches, found once. */
const stretchesFrom = (zone: string, from: number): Stretch[] => {
  const stretches: Stretch[] = [{ from, offset: measure(zone, from) }];
  for (let at = from + sampleMs; at <= from + 366 * dayMs; at += sampleMs) {
    const offset = measure(zone, at);
    if (offset !== stretches.at(-1)?.offset)
      stretches.push({ from: changeBetween(zone, at - sampleMs, at), offset });
  }
  return stretches;
};

/** Memory: at most 64 years of a zone, each a few numbers. */
const yearsOf = new Map<string, Map<number, readonly Stretch[]>>();

const stretchesOf = (zone: string, instant: number): readonly Stretch[] => {
  const years = yearsOf.get(zone) ?? new Map<number, readonly Stretch[]>();
  yearsOf.set(zone, years);
  const year = Math.floor(instant / (366 * dayMs));
  const known = years.get(year);
  if (known) return known;
  if (years.size >= cacheYears) years.clear();
  const stretches = stretchesFrom(zone, year * 366 * dayMs);
  years.set(year, stretches);
  return stretches;
};

/** What a zone is ahead of UTC at an instant, in ms. */
const offsetAt = (zone: string, instant: number): number => {
  const stretches = stretchesOf(zone, instant);
  return stretches.findLast(({ from }) => from <= instant)?.offset ?? 0;
};

/** What the clock on the wall shows. */
export const localAt = (zone: string, instant: number): number => instant + offsetAt(zone, instant);

/**
 * The first instant at which the clock on the wall has reached `local`: of a time that it shows twice the first, of one
 * that it skips the end of the gap. Never falls when `local` rises.
 */
export const instantOf = (zone: string, local: number): number => {
  const [early, late] = [local - dayMs, local + dayMs];
  const before = local - offsetAt(zone, early);
  if (offsetAt(zone, before) === offsetAt(zone, early)) return before;
  const after = local - offsetAt(zone, late);
  if (offsetAt(zone, after) === offsetAt(zone, late)) return after;
  // In a gap: the clock shows less up to the change, and more from it on.
  return changeBetween(zone, early, late);
};

/** `2026-03-29T03:00:00`, as the clock on the wall shows it. */
export const localText = (zone: string, instant: number): string =>
  new Date(localAt(zone, instant)).toISOString().slice(0, 19);

/** As `localText` writes it; seconds may be left out. */
export const instantOfText = (zone: string, text: string): number => instantOf(zone, Date.parse(`${text}Z`));
