import { weekdays, type Plan } from '@casvault/contracts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

const everyMonth = Array.from({ length: 12 }, (_, month) => month + 1);

/** As the clock of a backup host in UTC shows it. */
const timeOf = (at: Date): string => at.toISOString().slice(11, 16);
const weekdayOf = (at: Date): (typeof weekdays)[number] => weekdays[(at.getUTCDay() + 6) % 7]!;

/** Plans that are due at `at`, a whole minute later than now, and not again within the hour: four kinds in turn. */
export function plansDueAt(index: number, at: Date): Plan[] {
  const time = timeOf(at);
  const kinds: Plan[] = [
    { type: 'daily', time, everyDays: 1 },
    { type: 'weekly', time, everyWeeks: 1, weekdays: [weekdayOf(at)] },
    { type: 'monthly', time, months: everyMonth, days: [at.getUTCDate()] },
    { type: 'once', at: at.toISOString().slice(0, 16) },
  ];
  return [kinds[index % kinds.length]!];
}

/** Plans that are not due within three hours of `now`, spread over the ten after those: five kinds in turn. */
export function plansDueLater(index: number, now: Date): Plan[] {
  const at = new Date(now.getTime() + 3 * hourMs + ((index * 7) % 600) * minuteMs);
  const time = timeOf(at);
  const windowEnd = timeOf(new Date(at.getTime() + hourMs));
  const kinds: Plan[] = [
    { type: 'daily', time, everyDays: 1 },
    { type: 'weekly', time, everyWeeks: 1, weekdays: [...weekdays] },
    { type: 'hourly', windowStart: time, windowEnd, every: 30, unit: 'minutes' },
    { type: 'monthly', time, months: everyMonth, days: ['last'] },
    { type: 'manual' },
  ];
  return [kinds[index % kinds.length]!];
}

/** The first whole minute that is at least `leadMs` after `now`. */
export const minuteAfter = (now: Date, leadMs: number): Date =>
  new Date(Math.ceil((now.getTime() + leadMs) / minuteMs) * minuteMs);
