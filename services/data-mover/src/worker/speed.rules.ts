import { dayMs, localAt, minuteMs, rateAt, type SpeedLimit } from '@casvault/contracts';

/** Bytes a second that each kind may have now; null: as fast as it goes. Windows are of the clock on the wall in `timeZone`. */
export const speedAt = (
  limits: readonly SpeedLimit[],
  timeZone: string,
  now: Date,
): Readonly<Record<SpeedLimit['appliesTo'], number | null>> => {
  const minute = Math.floor((localAt(timeZone, now.getTime()) % dayMs) / minuteMs);
  return { transfer: rateAt(limits, 'transfer', minute), disk: rateAt(limits, 'disk', minute) };
};
