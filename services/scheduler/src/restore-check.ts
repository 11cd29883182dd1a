import { Fault, newId, type RunItemId } from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { mapBounded } from './bounded.js';
import { atOnce, availablePoint, requirePlatforms } from './references.js';
import { namesTwice, targetOf, wishOf, type RestoreDefinition } from './restore.rules.js';
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
    async ([index, { pointId }]): Promise<NewItem & { target: ReturnType<typeof whole> }> => {
      const asked = { pointId, field: `definition.items.${index}.pointId` };
      const { vmId, vmName: sourceName } = await availablePoint(client, asked, signal);
      const target = whole(definition, index, sourceName);
      const { vmName, hostId: host } = target;
      return { id: newId<RunItemId>(), kind: 'restore', vmId, vmName, host, pointId, target };
    },
  );
  const targets = items.map(({ target }) => target);
  const twice = namesTwice(targets).find((fault) => fault !== null);
  if (twice) throw twice;
  await requirePlatforms(client, targets, signal);
  return items;
};

const whole = (definition: RestoreDefinition, index: number, sourceName: string) => {
  const target = targetOf(wishOf(definition, index, sourceName), index);
  if (!Array.isArray(target)) return target;
  throw target[0] ?? new Fault('BUG', `item ${index} has no target`);
};
