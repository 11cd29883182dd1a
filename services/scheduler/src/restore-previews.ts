import {
  Fault,
  getPoint,
  getVm,
  maxPreviewedTogether,
  previewRestores,
  type Clock,
  type Point,
  type PointId,
  type previewRestore,
  type RestorePreview,
  type RestoreTarget,
  type RestoreWish,
  type Vm,
  type VmId,
} from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { type z } from 'zod';
import { type BackupZones } from './backup-zones.js';
import { mapBounded } from './bounded.js';
import { type Confirmations } from './confirmations.js';
import { judgedPlans } from './plan-check.js';
import { atOnce, availablePoint } from './references.js';
import { fieldOf, originalPath } from './restore-check.js';
import {
  inTarget,
  isOriginalPath,
  namesTwice,
  originalWish,
  proposedPlace,
  shownOf,
  targetOf,
  wishOf,
} from './restore.rules.js';

type Request = z.output<typeof previewRestore.request>;
type PreviewItem = RestorePreview['items'][number];
type Judged = Pick<PreviewItem, 'outline' | 'notices'> & { readonly refusals: readonly Fault[] };

/** What is known of one VM of the restore before its platform is asked. */
interface Looked {
  readonly pointId: PointId;
  readonly point: Point | null;
  readonly wish: RestoreWish;
  /** Null: nobody can judge it. */
  readonly target: RestoreTarget | null;
  readonly refusals: readonly Fault[];
}

export interface RestorePreviewsOptions {
  readonly client: MessagingClient;
  readonly zones: BackupZones;
  readonly confirmations: Pick<Confirmations, 'issue'>;
  readonly clock: Clock;
}

/** What the caller can do something about; the rest is thrown. */
const refusalOf = (error: unknown): Fault => {
  const fault = Fault.from(error);
  if (fault.kind !== 'user' && fault.kind !== 'conflict') throw fault;
  return fault;
};

const orRefusal = async <T>(work: Promise<T>): Promise<T | Fault> => {
  try {
    return await work;
  } catch (error) {
    return refusalOf(error);
  }
};

/** F4, F6: restores as they would be, before they are submitted. Memory: some kB for each VM of the request. */
export class RestorePreviews {
  readonly #o: RestorePreviewsOptions;

  constructor(options: RestorePreviewsOptions) {
    this.#o = options;
  }

  /** The code only where nothing is refused. */
  async preview(request: Request, actor: string, signal: AbortSignal): Promise<RestorePreview> {
    const { definition } = request;
    const refusals = await this.#planRefusals(request, signal);
    const looked = await mapBounded([...definition.items.entries()], atOnce, ([index, item]) =>
      this.#look(request, index, item, signal),
    );
    const judged = await this.#judge(looked, signal);
    const twice = namesTwice(looked.map(({ target }) => target));
    const items = looked.map((one, index) => ({
      index,
      ...itemOf(one, judged.get(index), twice[index] ?? null),
    }));
    const isClean = refusals.length === 0 && items.every((item) => item.refusals.length === 0);
    const confirmation = isClean ? await this.#o.confirmations.issue(request, actor) : null;
    const [itemCount, shown] = [items.length, shownOf(items)];
    return { itemCount, items: shown, refusals: refusals.map((fault) => fault.toJSON()), confirmation };
  }

  async #planRefusals(request: Request, signal: AbortSignal): Promise<Fault[]> {
    const judged = await orRefusal(judgedPlans(this.#o, request, signal));
    return Fault.is(judged) ? [judged] : [];
  }

  async #look(
    { definition }: Request,
    index: number,
    { pointId: namedId, poolId }: Request['definition']['items'][number],
    signal: AbortSignal,
  ): Promise<Looked> {
    const { client } = this.#o;
    const asked = { pointId: namedId, poolId, field: fieldOf(index, poolId) };
    const found = await orRefusal(availablePoint(client, asked, signal));
    if (Fault.is(found)) {
      const point = await orRefusal(client.request(getPoint, { pointId: namedId }, { signal }));
      const wish = definition.items[index]?.target ?? {};
      return {
        pointId: namedId,
        point: Fault.is(point) ? null : point,
        wish,
        target: null,
        refusals: [found],
      };
    }
    if (isOriginalPath(definition, index)) return this.#lookAtOriginal(definition, index, found, signal);
    const { id: pointId } = found;
    const wish = wishOf(definition, index, found.vmName);
    const asAsked = targetOf(wish, index);
    if (!Array.isArray(asAsked)) return { pointId, point: found, wish, target: asAsked, refusals: [] };
    const proposed = { ...proposedPlace(wish, await this.#vm(found.vmId, signal)), ...wish };
    const target = targetOf(proposed, index);
    const judged = Array.isArray(target) ? null : target;
    return { pointId, point: found, wish: proposed, target: judged, refusals: asAsked };
  }

  async #lookAtOriginal(
    definition: Request['definition'],
    index: number,
    point: Point,
    signal: AbortSignal,
  ): Promise<Looked> {
    const asked = { index, vmId: point.vmId };
    const wish = await orRefusal(originalPath(this.#o.client, definition, asked, signal));
    const known = { pointId: point.id, point };
    if (Fault.is(wish))
      return { ...known, wish: originalWish(definition, index, null), target: null, refusals: [wish] };
    const target = targetOf(wish, index);
    return Array.isArray(target)
      ? { ...known, wish, target: null, refusals: target }
      : { ...known, wish, target, refusals: [] };
  }

  async #vm(vmId: VmId, signal: AbortSignal): Promise<Vm | null> {
    const vm = await orRefusal(this.#o.client.request(getVm, { vmId }, { signal }));
    return Fault.is(vm) ? null : vm;
  }

  /** By the index of the item. Asked one after the other: each question is for many. */
  async #judge(looked: readonly Looked[], signal: AbortSignal): Promise<Map<number, Judged>> {
    const known = looked.flatMap(({ pointId, target }, index) =>
      target === null ? [] : [{ index, pointId, target }],
    );
    const judged = new Map<number, Judged>();
    for (let at = 0; at < known.length; at += maxPreviewedTogether) {
      const part = known.slice(at, at + maxPreviewedTogether);
      const items = part.map(({ pointId, target }) => ({ pointId, target }));
      const reply = await this.#o.client.request(previewRestores, { items }, { signal, deadlineMs });
      for (const [place, { outline, refusals, notices }] of reply.items.entries()) {
        const index = part[place]?.index ?? 0;
        const told = refusals.map((refusal) => inTarget(index, Fault.fromJSON(refusal)));
        judged.set(index, { outline, notices, refusals: told });
      }
    }
    return judged;
  }
}

/** The platforms are asked meanwhile. */
const deadlineMs = 60_000;

const itemOf = (
  { pointId, point, wish, refusals }: Looked,
  judged: Judged | undefined,
  twice: Fault | null,
): Omit<PreviewItem, 'index'> => ({
  pointId,
  sourceVmName: point?.vmName ?? null,
  capturedAt: point?.capturedAt ?? null,
  target: wish,
  outline: judged?.outline ?? null,
  refusals: [...refusals, ...(judged?.refusals ?? []), ...(twice ? [twice] : [])].map((fault) =>
    fault.toJSON(),
  ),
  notices: judged?.notices ?? [],
});
