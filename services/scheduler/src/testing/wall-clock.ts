import { type Plan } from '@casvault/contracts';

/**
 * An oracle for plans that shares no code and no idea with them: it watches a clock on the wall minute by minute, and asks
 * of every minute that the clock shows or skips for the first time whether the plan names it. Local minutes are counted
 * from 1970-01-01 00:00.
 */

const names = ['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday'];

const minutesOf = (time: string): number => {
  const [hours = '', minutes = ''] = time.split(':');
  return 60 * Number(hours) + Number(minutes);
};

const daysBetween = (from: Date, to: Date): number =>
  Math.round((to.getTime() - from.getTime()) / 86_400_000);
const mondayOf = (date: Date): Date => {
  const monday = new Date(date);
  while (monday.getUTCDay() !== 1) monday.setUTCDate(monday.getUTCDate() - 1);
  return monday;
};
const daysInMonth = (date: Date): number => {
  const next = new Date(date);
  let days = date.getUTCDate();
  for (;;) {
    next.setUTCDate(next.getUTCDate() + 1);
    if (next.getUTCMonth() !== date.getUTCMonth()) return days;
    days += 1;
  }
};

const isWeekOfMonth = (date: Date, week: string): boolean => {
  const day = date.getUTCDate();
  if (week === 'last') return day > daysInMonth(date) - 7;
  const first = { first: 1, second: 8, third: 15, fourth: 22 }[week] ?? 0;
  return day >= first && day <= first + 6;
};

const namesDay = (plan: Plan, date: Date): boolean => {
  const start = 'startDate' in plan && plan.startDate !== undefined ? new Date(plan.startDate) : new Date(0);
  if (date < start) return false;
  const weekday = names[date.getUTCDay()] as never;
  switch (plan.type) {
    case 'daily':
      return daysBetween(start, date) % plan.everyDays === 0;
    case 'weekly':
      return (
        plan.weekdays.includes(weekday) &&
        (daysBetween(mondayOf(start), mondayOf(date)) / 7) % plan.everyWeeks === 0
      );
    case 'monthly':
      if (!plan.months.includes(date.getUTCMonth() + 1)) return false;
      if (plan.days)
        return plan.days.some((day) => date.getUTCDate() === (day === 'last' ? daysInMonth(date) : day));
      return (
        plan.weekdays?.includes(weekday) === true &&
        plan.weeks?.some((week) => isWeekOfMonth(date, week)) === true
      );
    default:
      return true;
  }
};

type NamesMinute = (minute: number) => boolean;

const namesMinuteOfWindow = (plan: Extract<Plan, { type: 'hourly' }>): NamesMinute => {
  const [start, end] = [minutesOf(plan.windowStart), minutesOf(plan.windowEnd)];
  const length = (end - start + 1440) % 1440;
  const step = plan.every * (plan.unit === 'hours' ? 60 : 1);
  return (minute) => {
    const since = ((minute % 1440) - start + 1440) % 1440;
    return since <= length && since % step === 0;
  };
};

/** Whether the plan names a local minute. */
const namesMinuteOf = (plan: Plan): NamesMinute => {
  switch (plan.type) {
    case 'immediate':
    case 'manual':
      return () => false;
    case 'once':
      return (minute) => Date.parse(`${plan.at}Z`) === minute * 60_000;
    case 'hourly':
      return namesMinuteOfWindow(plan);
    default: {
      const ofDay = minutesOf(plan.time);
      return (minute) => minute % 1440 === ofDay && namesDay(plan, new Date((minute - ofDay) * 60_000));
    }
  }
};

/** What the clock shows, read from its words. */
const watch = (zone: string): ((instant: number) => number) => {
  const words = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' });
  return (instant) => Date.parse(`${words.format(instant).replace(' ', 'T')}Z`) / 60_000;
};

/** For every local minute from `first` on the instant at which the clock reached or skipped it for the first time. */
export interface Watched {
  readonly first: number;
  readonly instants: readonly number[];
}

/** Watches the clock from `from` to `to`; it is read every so many minutes, and goes evenly between. */
export const watchFrom = (zone: string, from: number, to: number, readEvery = 1): Watched => {
  const read = watch(zone);
  const first = read(from);
  const instants: number[] = [];
  for (let at = from; at <= to; at += readEvery * 60_000) {
    const shown = read(at);
    for (let minute = 0; minute < readEvery; minute += 1)
      while (first + instants.length <= shown + minute) instants.push(at + minute * 60_000);
  }
  return { first, instants };
};

/** Every instant at which the plan is due, once each, in their order. */
export const duesOf = (plan: Plan, { first, instants }: Watched): number[] => {
  const isOneADay = 'time' in plan;
  const skipped = isOneADay ? (minutesOf(plan.time) - (first % 1440) + 1440) % 1440 : 0;
  const namesMinute = namesMinuteOf(plan);
  const dues = new Set<number>();
  for (let i = skipped; i < instants.length; i += isOneADay ? 1440 : 1)
    if (namesMinute(first + i)) dues.add(instants[i] ?? NaN);
  return [...dues];
};
