import {
  dayMs,
  instantOf,
  instantOfText,
  localAt,
  localText,
  minuteMs,
  weekdays,
  type Plan,
  type PlanPreview,
} from '@casvault/contracts';

/**
 * D7: the instants at which a plan is due. Every plan names days, and times of each day; both are of the clock on the wall,
 * and each of them is due once: see `instantOf`. Two that fall together at the end of a gap are one.
 */

type Recurring = Extract<Plan, { type: 'hourly' | 'daily' | 'weekly' | 'monthly' }>;
type Monthly = Extract<Plan, { type: 'monthly' }>;
type Hourly = Extract<Plan, { type: 'hourly' }>;

/** A day, counted from 1970-01-01; that was a Thursday. */
type Day = number;
const dayOf = (local: number): Day => Math.floor(local / dayMs);
const dayOfText = (date: string): Day => dayOf(Date.parse(date));
const weekdayOf = (day: Day): number => (((day + 3) % 7) + 7) % 7;
const weekOf = (day: Day): number => Math.floor((day + 3) / 7);

const minutesOf = (time: string): number => Number(time.slice(0, 2)) * 60 + Number(time.slice(3));

/** Longer than any plan is without a day: from 29 February 2096 to that of 2104, and a gap of a day. */
const longestPause = 8 * 366 + 4;

/** Minutes after the beginning of its day; beyond 1440 they are of the next. At most 1,440 of them. */
const hourlyTimes = ({ windowStart, windowEnd, every, unit }: Hourly): number[] => {
  const [start, end] = [minutesOf(windowStart), minutesOf(windowEnd)];
  const last = end < start ? end + 1440 : end;
  const step = unit === 'hours' ? every * 60 : every;
  return Array.from({ length: Math.floor((last - start) / step) + 1 }, (_, i) => start + i * step);
};

const timesOf = (plan: Recurring): readonly number[] =>
  plan.type === 'hourly' ? hourlyTimes(plan) : [minutesOf(plan.time)];

const isDayOfMonth = ({ months, days, weeks, weekdays: named }: Monthly, day: Day): boolean => {
  const date = new Date(day * dayMs);
  const [month, number] = [date.getUTCMonth() + 1, date.getUTCDate()];
  if (!months.includes(month)) return false;
  const length = new Date(Date.UTC(date.getUTCFullYear(), month, 0)).getUTCDate();
  if (days !== undefined) return days.includes(number) || (days.includes('last') && number === length);
  const weekday = weekdays[weekdayOf(day)];
  if (weekday === undefined || !named?.includes(weekday)) return false;
  const nth = (['first', 'second', 'third', 'fourth'] as const)[Math.floor((number - 1) / 7)];
  return (
    (nth !== undefined && weeks?.includes(nth) === true) ||
    (weeks?.includes('last') === true && number + 7 > length)
  );
};

/** Days and weeks are counted from the start date; what has none yet is counted from 1970-01-01. */
const startOf = (plan: Recurring): Day =>
  'startDate' in plan && plan.startDate !== undefined ? dayOfText(plan.startDate) : 0;

const isDay = (plan: Recurring, day: Day): boolean => {
  const start = startOf(plan);
  if (day < start) return false;
  switch (plan.type) {
    case 'hourly':
      return true;
    case 'daily':
      return (day - start) % plan.everyDays === 0;
    case 'weekly': {
      const weekday = weekdays[weekdayOf(day)];
      const isWeek = (weekOf(day) - weekOf(start)) % plan.everyWeeks === 0;
      return isWeek && weekday !== undefined && plan.weekdays.includes(weekday);
    }
    case 'monthly':
      return isDayOfMonth(plan, day);
  }
};

const isRecurring = (plan: Plan): plan is Recurring =>
  plan.type !== 'immediate' && plan.type !== 'manual' && plan.type !== 'once';

/** The time of `once`; null for plans that no clock begins. */
const onlyTime = (plan: Exclude<Plan, Recurring>, zone: string): number | null =>
  plan.type === 'once' ? instantOfText(zone, plan.at) : null;

const dueOn =
  (zone: string, day: Day) =>
  (minutes: number): number =>
    instantOf(zone, day * dayMs + minutes * minuteMs);

/** How many of the times of a day are due up to `instant`: they rise with the day's minutes. */
const countUpTo = (times: readonly number[], dueAt: (minutes: number) => number, instant: number): number => {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (dueAt(times[middle] ?? 0) <= instant) low = middle + 1;
    else high = middle;
  }
  return low;
};

/** The first instant after `after` at which the plan is due; null when it never is again. */
export const nextDue = (plan: Plan, zone: string, after: Date): Date | null => {
  const from = after.getTime();
  if (!isRecurring(plan)) {
    const at = onlyTime(plan, zone);
    return at !== null && at > from ? new Date(at) : null;
  }
  // A window may have begun the day before, and a gap may have swallowed a day.
  const first = Math.max(dayOf(localAt(zone, from)) - 2, startOf(plan));
  const times = timesOf(plan);
  for (let day = first; day <= first + longestPause; day += 1) {
    if (!isDay(plan, day)) continue;
    const dueAt = dueOn(zone, day);
    const minutes = times[countUpTo(times, dueAt, from)];
    if (minutes !== undefined) return new Date(dueAt(minutes));
  }
  return null;
};

/** The last instant up to `until`, and after `after`, at which the plan was due; null when there is none. */
export const lastDue = (plan: Plan, zone: string, after: Date, until: Date): Date | null => {
  const [from, to] = [after.getTime(), until.getTime()];
  if (!isRecurring(plan)) {
    const at = onlyTime(plan, zone);
    return at !== null && at > from && at <= to ? new Date(at) : null;
  }
  const earliest = dayOf(localAt(zone, from)) - 2;
  const times = timesOf(plan);
  for (let day = dayOf(localAt(zone, to)) + 1; day >= earliest; day -= 1) {
    if (!isDay(plan, day)) continue;
    const dueAt = dueOn(zone, day);
    const minutes = times[countUpTo(times, dueAt, to) - 1];
    if (minutes !== undefined) return dueAt(minutes) > from ? new Date(dueAt(minutes)) : null;
  }
  return null;
};

/** The next `count` instants at which the plan is due. */
export const nextDues = (plan: Plan, zone: string, after: Date, count: number): Date[] => {
  const dues: Date[] = [];
  for (
    let due = nextDue(plan, zone, after);
    due !== null && dues.length < count;
    due = nextDue(plan, zone, due)
  )
    dues.push(due);
  return dues;
};

/** The same as a preview shows them. */
export const shownDues = (plan: Plan, zone: string, after: Date, count: number): PlanPreview['dues'] =>
  nextDues(plan, zone, after, count).map((at) => ({
    at: at.toISOString(),
    local: localText(zone, at.getTime()),
  }));

/** The plan as it is kept: with the day from which it counts. */
export const withStart = (plan: Plan, zone: string, now: Date): Plan =>
  plan.type === 'daily' || plan.type === 'weekly'
    ? { ...plan, startDate: plan.startDate ?? localText(zone, now.getTime()).slice(0, 10) }
    : plan;
