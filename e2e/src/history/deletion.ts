import { setTimeout as sleep } from 'node:timers/promises';
import { deletionSchema, type PointId } from '@casvault/contracts';
import { type ApiClient } from '@casvault/stack';

/** Previews, confirms and waits; the points that the preview listed. */
export const deletePoints = async (
  api: ApiClient,
  pointIds: readonly PointId[],
  mode: 'single' | 'cascade',
): Promise<PointId[]> => {
  const made = await api.ask(deletionSchema, '/deletions', { method: 'POST', body: { pointIds, mode } });
  const path = `/deletions/${made.id}`;
  const until = async (wanted: string) => {
    for (;;) {
      const now = await api.ask(deletionSchema, path);
      if (now.state === wanted) return now;
      if (!['measuring', 'ready', 'deleting'].includes(now.state))
        throw new Error(`the deletion is ${now.state}: ${JSON.stringify(now.fault)}`);
      await sleep(25);
    }
  };
  await until('ready');
  await api.ask(deletionSchema, `${path}/confirmation`, { method: 'POST' });
  return (await until('deleted')).points.map(({ id }) => id);
};
