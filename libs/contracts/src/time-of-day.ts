import { z } from 'zod';

/** What a clock on the wall shows: `00:00` to `23:59`. */
export const timeOfDaySchema = z
  .string()
  .regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'must be a time of day as HH:MM, 00:00 to 23:59');
