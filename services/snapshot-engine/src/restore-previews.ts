import {
  judgeRestoreVms,
  maxJudgedTogether,
  newId,
  type previewRestores,
  type RunItemId,
} from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { type z } from 'zod';
import { damageReasons } from './damage.rules.js';
import { type PointStore } from './point-store.js';
import { outlineOf, planRestoreVm, refuseOriginalPath, refuseUnrestorable } from './restore.rules.js';
import { type CreateRestoreVm, type RestorablePoint } from './restore.js';
import { mergedReasons } from './transfer-watch.js';

type Wanted = z.output<typeof previewRestores.request>['items'][number];
type Preview = z.output<typeof previewRestores.reply>['items'][number];
type Verdict = z.output<typeof judgeRestoreVms.reply>['verdicts'][number];

/** The CVM is asked for every VM of the question. */
const judgingDeadlineMs = 50_000;

interface Planned {
  readonly target: Wanted['target'];
  readonly source: RestorablePoint;
  readonly request: Omit<CreateRestoreVm, 'restoreId'>;
}

/**
 * F4: restores by the rules of restores, with nothing made. Memory: the configurations of one question's VMs at a time, some 20 kB each.
 */
export class RestorePreviews {
  constructor(
    private readonly client: Pick<MessagingClient, 'request'>,
    private readonly points: Pick<PointStore, 'restorable'>,
  ) {}

  /** In the order of the items. NOT_FOUND when a point is not there. */
  async preview(items: readonly Wanted[], signal: AbortSignal): Promise<Preview[]> {
    const previews: Preview[] = [];
    for (let at = 0; at < items.length; at += maxJudgedTogether) {
      const planned: Planned[] = [];
      for (const item of items.slice(at, at + maxJudgedTogether)) planned.push(await this.#plan(item));
      const requests = planned.map(({ request }) => request);
      const options = { signal, deadlineMs: judgingDeadlineMs };
      const { verdicts } = await this.client.request(judgeRestoreVms, { requests }, options);
      previews.push(...planned.map((one, index) => previewOf(one, verdicts[index])));
    }
    return previews;
  }

  async #plan({ pointId, target }: Wanted): Promise<Planned> {
    const source = await this.points.restorable(pointId);
    const { restoreId: _, ...request } = planRestoreVm({ itemId: newId<RunItemId>(), target }, source);
    return { target, source, request };
  }
}

const previewOf = (
  { target, source, request }: Planned,
  { refusals, notices }: Verdict = { refusals: [], notices: [] },
): Preview => {
  const { point } = source;
  const refusal = (refuseUnrestorable(point) ?? refuseOriginalPath({ target }, source))?.toJSON();
  return {
    outline: outlineOf(request),
    refusals: [...(refusal ? [refusal] : []), ...refusals],
    notices: mergedReasons(damageReasons(point), notices),
  };
};
