import { Fault, getOriginalPlace, type PoolId, type RestoreWish, type VmId } from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { mapBounded } from './bounded.js';
import { atOnce, availablePoint, inField, requirePlatforms } from './references.js';
import {
  isOriginalPath,
  namesTwice,
  originalWish,
  targetOf,
  wishOf,
  type RestoreDefinition,
} from './restore.rules.js';
import { type NewItem } from './run-item.js';

/** F4: the items of a run of a restore job; throws the first thing that is wrong with its definition. */
export const restoreItems = async (
  client: MessagingClient,
  definition: RestoreDefinition,
  signal: AbortSignal,
): Promise<NewItem[]> => {
  const items = await mapBounded(
    [...definition.items.entries()],
    atOnce,
    async ([index, { pointId: namedId, poolId }]): Promise<
      NewItem & { target: ReturnType<typeof whole> }
    > => {
      const asked = { pointId: namedId, poolId, field: fieldOf(index, poolId) };
      const { id: pointId, vmId, vmName: sourceName } = await availablePoint(client, asked, signal);
      const wish = isOriginalPath(definition, index)
        ? await originalPath(client, definition, { index, vmId }, signal)
        : wishOf(definition, index, sourceName);
      const target = whole(wish, index);
      const { vmName, hostId: host } = target;
      return { kind: 'restore', vmId, vmName, host, pointId, target };
    },
  );
  const targets = items.map(({ target }) => target);
  const twice = namesTwice(targets).find((fault) => fault !== null);
  if (twice) throw twice;
  await requirePlatforms(client, targets, signal);
  return items;
};

/** The field that says which point, in which pool. */
export const fieldOf = (index: number, poolId: PoolId | undefined): string =>
  `definition.items.${index}.${poolId === undefined ? 'pointId' : 'poolId'}`;

/** F3: where the VM of the point is by now, or was. */
export const originalPath = async (
  client: MessagingClient,
  definition: RestoreDefinition,
  { index, vmId }: { index: number; vmId: VmId },
  signal: AbortSignal,
): Promise<RestoreWish> => {
  const field = `definition.items.${index}.target.path`;
  const place = await inField(field, client.request(getOriginalPlace, { vmId }, { signal }));
  return originalWish(definition, index, place);
};

const whole = (wish: RestoreWish, index: number) => {
  const target = targetOf(wish, index);
  if (!Array.isArray(target)) return target;
  throw target[0] ?? new Fault('BUG', `item ${index} has no target`);
};
