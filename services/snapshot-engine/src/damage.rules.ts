import { type Point, type ReasonCode, type Verification, type VerificationMark } from '@casvault/contracts';

type Mark = Point['verification'];

/** What a point bears of a verification; null when it says nothing about the point. */
export const markOf = ({ id, depth, state, finishedAt }: Verification): VerificationMark | null =>
  (state === 'sound' || state === 'damaged') && finishedAt !== null
    ? { id, depth, state, at: finishedAt }
    : null;

const looksAsDeep = (one: Pick<VerificationMark, 'depth'>, as: Pick<VerificationMark, 'depth'>): boolean =>
  one.depth === 'content' || as.depth === 'stored';

/**
 * What a point bears after one more verification of it. Several may run at once, and end in any order: that a point is sound
 * takes back damage only if it was looked for as deep, and from after the damage was found.
 */
export const markAfter = (borne: Mark, shown: Verification): Mark => {
  const mark = markOf(shown);
  if (mark?.state !== 'sound' || borne?.state !== 'damaged') return mark ?? borne;
  return looksAsDeep(mark, borne) && shown.createdAt > borne.at ? mark : borne;
};

/** A restore of a damaged point is not forbidden: what it reads may be whole. It is told. */
export const damageReasons = ({ verification }: Pick<Point, 'verification'>): ReasonCode[] =>
  verification?.state === 'damaged' ? ['POINT_DAMAGED'] : [];

/**
 * Whether the newest point of a chain may show what a verification found damaged: in itself or, as points share what did not
 * change, in any point of its chain; unless it was found sound since, looked at as deep.
 */
export const mayBeDamaged = (newest: Mark, damagedInChain: readonly VerificationMark[]): boolean =>
  damagedInChain.some(
    (damage) =>
      newest === null || newest.state === 'damaged' || !looksAsDeep(newest, damage) || newest.at <= damage.at,
  );
