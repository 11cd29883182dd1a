import { z } from 'zod';
import { timeOfDaySchema } from './time-of-day.js';

const kibOf = { 'KiB/s': 1, 'MiB/s': 1_024, 'GiB/s': 1_048_576 } as const;

/** One block of a disk a second: a slower transfer would be taken for one that stands still. */
const leastKib = 64;
const mostKib = 1_024 * kibOf['GiB/s'];

/**
 * How fast a transfer may be in a window of the day, by the clock at the backup host. `disk`: bytes read from the source's disks or written
 * to the target's; `transfer`: bytes put into the pool or got from it, as stored. All streams, disks and VMs of a run share it at each backup host.
 */
export const speedLimitSchema = z
  .object({
    from: timeOfDaySchema,
    /** Not in the window any more. Before `from`: on the next day. As `from`: the window is the whole day. */
    to: timeOfDaySchema,
    rate: z.number().int().min(1),
    unit: z.enum(['KiB/s', 'MiB/s', 'GiB/s']),
    appliesTo: z.enum(['transfer', 'disk']),
  })
  .refine(({ rate, unit }) => rate * kibOf[unit] >= leastKib && rate * kibOf[unit] <= mostKib, {
    path: ['rate'],
    message: 'must be 64 KiB/s to 1024 GiB/s',
  });
export type SpeedLimit = z.infer<typeof speedLimitSchema>;

const minutesOf = (time: string): number => Number(time.slice(0, 2)) * 60 + Number(time.slice(3));

/** Minutes of the day in which a window is, as one or two ranges `[from, to)`. */
const rangesOf = ({ from, to }: Pick<SpeedLimit, 'from' | 'to'>): (readonly [number, number])[] => {
  const [first, end] = [minutesOf(from), minutesOf(to)];
  return first < end
    ? [[first, end]]
    : [
        [first, 1_440],
        [0, end],
      ];
};

const overlap = (a: SpeedLimit, b: SpeedLimit): boolean =>
  a.appliesTo === b.appliesTo &&
  rangesOf(a).some(([from, to]) => rangesOf(b).some(([first, end]) => from < end && first < to));

/** At any time at most one limit of each kind holds. */
export const speedLimitsSchema = z
  .array(speedLimitSchema)
  .max(48)
  .superRefine((limits, context) => {
    limits.forEach((limit, index) => {
      const other = limits.findIndex((one, at) => at < index && overlap(one, limit));
      const earlier = limits[other];
      if (earlier === undefined) return;
      context.addIssue({
        code: 'custom',
        path: [index],
        message: `${limit.from}-${limit.to} overlaps ${earlier.from}-${earlier.to}, window ${other} of the list: both limit ${limit.appliesTo}`,
        input: limit,
      });
    });
  });

/** Bytes a second that a kind may have in a minute of the day (0 to 1439) of the backup host; null: as fast as it goes. */
export const rateAt = (
  limits: readonly SpeedLimit[],
  appliesTo: SpeedLimit['appliesTo'],
  minuteOfDay: number,
): number | null => {
  const holds = limits.find(
    (limit) =>
      limit.appliesTo === appliesTo &&
      rangesOf(limit).some(([from, to]) => minuteOfDay >= from && minuteOfDay < to),
  );
  return holds === undefined ? null : holds.rate * kibOf[holds.unit] * 1_024;
};
