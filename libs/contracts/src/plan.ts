import { z } from 'zod';
import { pointKindSchema } from './point.js';
import { timeOfDaySchema } from './time-of-day.js';

/**
 * D7: when a job runs. Dates and times of day are those of the clock on the wall at the backup host. A time that the clock
 * skips for daylight saving is due at once after the gap, one that it shows twice is due the first time.
 */

/** Those that are known to be zones: to look one up takes longer than to judge the rest of a job. Bound: 1,000 names of 64 characters. */
const knownZones = new Set<string>();
const mostKnownZones = 1_000;

/** What `Intl` of this machine knows as a time zone of the IANA data base; fixed offsets as `+08:00` are none. */
const isTimeZone = (zone: string): boolean => {
  if (knownZones.has(zone)) return true;
  const isZone = lookUpZone(zone);
  if (isZone && knownZones.size < mostKnownZones) knownZones.add(zone);
  return isZone;
};

const lookUpZone = (zone: string): boolean => {
  if (!/^[A-Za-z]/.test(zone)) return false;
  try {
    return new Intl.DateTimeFormat('en', { timeZone: zone }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
};
export const timeZoneSchema = z
  .string()
  .max(64)
  .refine(isTimeZone, 'must be the name of an IANA time zone, as Europe/Berlin');

const dateSchema = z.iso.date('must be a date as YYYY-MM-DD');
const localTimeSchema = z.iso.datetime({
  local: true,
  offset: false,
  error: 'must be a local date and time as YYYY-MM-DDTHH:MM, without a zone',
});

const unique = <T extends z.ZodType>(item: T, most: number) =>
  z
    .array(item)
    .min(1)
    .max(most)
    .refine((values) => new Set(values).size === values.length, 'names one twice');

/** The week begins on Monday. */
export const weekdays = [
  'monday',
  'tuesday',
  'wednesday',
  'thursday',
  'friday',
  'saturday',
  'sunday',
] as const;
const weekdaysSchema = unique(z.enum(weekdays), 7);

const longestMonth = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] as const;

/** Backup jobs: the kind of point that runs of this plan make; absent: as the job says. */
const kindShape = { pointKind: pointKindSchema.optional() };
/** Of which days and weeks are counted; absent: the day on which the plan was saved. */
const startShape = { startDate: dateSchema.optional() };

const hourlyPlanSchema = z
  .object({
    type: z.literal('hourly'),
    windowStart: timeOfDaySchema,
    /** The last time at which a run may begin; before `windowStart`: on the next day. */
    windowEnd: timeOfDaySchema,
    /** 1-24 hours, or 1-1440 minutes, counted from `windowStart` of each day. */
    every: z.number().int().min(1).max(1440),
    unit: z.enum(['hours', 'minutes']),
    ...kindShape,
  })
  .refine(({ windowStart, windowEnd }) => windowStart !== windowEnd, {
    path: ['windowEnd'],
    message: 'must not be windowStart: the whole day is 00:00 to 23:59',
  })
  .refine(({ every, unit }) => unit === 'minutes' || every <= 24, {
    path: ['every'],
    message: 'must be 1 to 24 hours',
  });

const monthlyPlanSchema = z
  .object({
    type: z.literal('monthly'),
    time: timeOfDaySchema,
    months: unique(z.number().int().min(1).max(12), 12),
    /** A day that a month lacks is passed over. */
    days: unique(z.union([z.number().int().min(1).max(31), z.literal('last')]), 32).optional(),
    weeks: unique(z.enum(['first', 'second', 'third', 'fourth', 'last']), 5).optional(),
    weekdays: weekdaysSchema.optional(),
    ...kindShape,
  })
  .refine(({ days, weeks }) => (days === undefined) !== (weeks === undefined), {
    path: ['days'],
    message: 'must be given, or else weeks with weekdays; not both',
  })
  .refine(({ weeks, weekdays: named }) => (weeks === undefined) === (named === undefined), {
    path: ['weekdays'],
    message: 'must be given with weeks, and only with weeks',
  })
  .refine(
    ({ days, months }) =>
      days === undefined ||
      days.some((day) => day === 'last' || months.some((month) => day <= (longestMonth[month - 1] ?? 0))),
    { path: ['days'], message: 'none of these months has such a day' },
  );

/** `immediate`: a run begins when the job is created. `manual`: only when somebody starts one. */
export const planSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('immediate'), ...kindShape }),
  z.object({ type: z.literal('manual') }),
  z.object({ type: z.literal('once'), at: localTimeSchema, ...kindShape }),
  hourlyPlanSchema,
  z.object({
    type: z.literal('daily'),
    time: timeOfDaySchema,
    everyDays: z.number().int().min(1).max(365).default(1),
    ...startShape,
    ...kindShape,
  }),
  z.object({
    type: z.literal('weekly'),
    time: timeOfDaySchema,
    /** Counted from the week of the start date. */
    everyWeeks: z.number().int().min(1).max(52).default(1),
    weekdays: weekdaysSchema,
    ...startShape,
    ...kindShape,
  }),
  monthlyPlanSchema,
]);
export type Plan = z.infer<typeof planSchema>;

/**
 * One plan, or two: one for full and one for incremental points. When both are due the full one runs. See
 * `planRefusal` for jobs that are no backups.
 */
export const plansSchema = z
  .array(planSchema)
  .min(1)
  .max(2)
  .superRefine((plans, context) => {
    if (plans.length < 2) return;
    const refuse = (index: number, field: string, message: string) =>
      context.addIssue({ code: 'custom', path: [index, field], message, input: plans });
    plans.forEach((plan, index) => {
      if (plan.type === 'manual') refuse(index, 'type', 'manual stands alone');
      else if (plan.pointKind === undefined)
        refuse(index, 'pointKind', 'must be given: of two plans one is full and one incremental');
    });
    const kinds = new Set(plans.map(kindOfPlan));
    if (kinds.size < 2 && !kinds.has(undefined))
      refuse(1, 'pointKind', 'must not be that of the other plan: one is full and one incremental');
  });

/** The kind of point that a plan asks for; undefined: as the job says. */
export const kindOfPlan = (plan: Plan): 'full' | 'incremental' | undefined =>
  plan.type === 'manual' ? undefined : plan.pointKind;

/** What a plan breaks as one of a job of this kind, by field; null: nothing. */
export const planRefusal = (kind: string, plan: Plan): { field: string; rule: string } | null => {
  if (kind === 'backup') return null;
  if (kind !== 'verify' && kind !== 'copy' && plan.type !== 'immediate' && plan.type !== 'once')
    return { field: 'type', rule: `must be immediate or once in a ${kind} job` };
  return kindOfPlan(plan) === undefined ? null : { field: 'pointKind', rule: 'only a backup makes points' };
};
