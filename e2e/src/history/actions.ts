import { setTimeout as sleep } from 'node:timers/promises';
import { deletionSchema, runSchema, type JobId, type PointId, type Run } from '@casvault/contracts';
import { type ApiClient } from '@casvault/stack';

export const startRun = (api: ApiClient, jobId: JobId, pointKind: 'full' | 'incremental'): Promise<Run> =>
  api.ask(runSchema, `/jobs/${jobId}/runs`, { method: 'POST', body: { pointKind } });

export const rollBack = (api: ApiClient, pointId: PointId, confirm: string): Promise<Run> =>
  api.ask(runSchema, `/points/${pointId}/rollback`, { method: 'POST', body: { confirm } });

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
      await sleep(50);
    }
  };
  await until('ready');
  await api.ask(deletionSchema, `${path}/confirmation`, { method: 'POST' });
  return (await until('deleted')).points.map(({ id }) => id);
};
