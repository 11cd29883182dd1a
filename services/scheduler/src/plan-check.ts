import {
  Fault,
  instantOfText,
  planRefusal,
  type Clock,
  type Job,
  type JobDefinition,
  type Plan,
} from '@casvault/contracts';
import { isDeepStrictEqual } from 'node:util';
import { type BackupZones } from './backup-zones.js';
import { nextDue, withStart } from './plan.rules.js';

const refuse = (seq: number, field: string, rule: string): never => {
  const name = `plans.${String(seq)}.${field}`;
  throw new Fault('INPUT_INVALID', `${name}: ${rule}`, { details: { field: name } });
};

interface PlansOfJob {
  readonly definition: Pick<JobDefinition, 'kind' | 'group'>;
  readonly plans: readonly Plan[];
  /** Those that the job has already are not judged anew. */
  readonly kept?: readonly Plan[];
}

/** The plans as they are kept, in the zone of the job's group. INPUT_INVALID with what is wrong, by field. */
export const judgedPlans = async (
  { zones, clock }: { readonly zones: Pick<BackupZones, 'of'>; readonly clock: Clock },
  { definition: { kind, group }, plans, kept = [] }: PlansOfJob,
  signal: AbortSignal,
): Promise<Pick<Job, 'timeZone' | 'plans'>> => {
  const timeZone = await zones.of(group, signal);
  return { timeZone, plans: checkedPlans(kind, plans, { timeZone, now: clock.now(), kept }) };
};

const checkedPlans = (
  kind: JobDefinition['kind'],
  plans: readonly Plan[],
  { timeZone, now, kept }: { timeZone: string; now: Date; kept: readonly Plan[] },
): Plan[] =>
  plans.map((plan, seq) => {
    const refusal = planRefusal(kind, plan);
    if (refusal) refuse(seq, refusal.field, refusal.rule);
    const isKept = kept.some((one) => isDeepStrictEqual(one, plan));
    if (plan.type === 'once' && !isKept && instantOfText(timeZone, plan.at) <= now.getTime())
      refuse(seq, 'at', `must be in the future of ${timeZone}, is ${plan.at}`);
    const started = withStart(plan, timeZone, now);
    if (plan.type !== 'once' && isClocked(plan) && nextDue(started, timeZone, now) === null)
      refuse(seq, 'type', 'this plan is never due');
    return started;
  });

const isClocked = ({ type }: Plan): boolean => type !== 'immediate' && type !== 'manual';

/** Whether a request asks for the plans that are kept: what it leaves open was filled in. */
export const asksForPlans = (asked: readonly Plan[], kept: readonly Plan[]): boolean =>
  asked.length === kept.length &&
  asked.every((plan, seq) => {
    const one = kept[seq];
    const start = one !== undefined && 'startDate' in one ? { startDate: one.startDate } : {};
    return isDeepStrictEqual({ ...start, ...plan }, one);
  });
