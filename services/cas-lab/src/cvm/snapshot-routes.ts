import { type SnapshotKind, type SnapshotNode } from '../platform/snapshots.js';
import { CasError, casErrorCodes } from '../rest/cas-error.js';
import { asNumber, asText, type RequestBody } from '../rest/request-body.js';
import { type Fields } from '../rest/shape.js';
import { casTime, eventTypes } from '../rest/task-board.js';
import { refusedByRelease } from './release-rules.js';
import { del, get, idOf, list, post, put, task, type CasCall, type Route } from './route.js';
import { vmOfBody } from './vm-routes.js';

/** The tree, nested as the CVM nests it: every snapshot holds those that were taken on top of it. */
function tree(all: readonly SnapshotNode[], parent: string | null): Fields[] {
  return all
    .filter((snapshot) => snapshot.parent === parent)
    .map(({ name, title, description, createdAt }) => ({
      name,
      snapshotTitle: title,
      desc: description,
      isCurr: name === all.at(-1)?.name ? 1 : 0,
      creationTime: casTime(createdAt),
      snapshots: tree(all, name),
    }));
}

/** `snapMem` 0: without memory. `snapshotMode` 1, a guess of the emulation and the client alike: external. */
function kindOf(body: RequestBody): SnapshotKind {
  if (asNumber(body['snapshotMode']) === 1) return 'external';
  return asNumber(body['snapMem']) === 0 ? 'internal' : 'memory';
}

function createSnapshot({ body, platform }: CasCall) {
  const vm = vmOfBody(platform, body, 'vmId');
  const name = asText(body['name']) ?? `snapshot${String(platform.clock().getTime())}`;
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(name)) throw new CasError(casErrorCodes.unknown, '快照名称不合法。');
  const plan = {
    name,
    title: asText(body['snapshotTitle']) ?? name,
    description: asText(body['desc']) ?? '',
    kind: kindOf(body),
  };
  return task(
    platform.onVm(vm, { name: '创建快照', eventType: eventTypes.snapshot }, async () => {
      const refusal = await refusedByRelease(platform, vm, plan.kind);
      if (refusal !== null) throw new CasError(casErrorCodes.unknown, refusal);
      await platform.snapshots.create(vm, plan);
    }),
  );
}

function deleteSnapshot({ params, platform }: CasCall) {
  const vm = platform.machines.get(idOf(params['id']));
  const name = params['name'] ?? '';
  return task(
    platform.onVm(vm, { name: '删除快照', eventType: eventTypes.snapshot }, () =>
      platform.snapshots.delete(vm, name),
    ),
  );
}

function revertSnapshot({ body, platform }: CasCall) {
  const vm = vmOfBody(platform, body, 'vmId');
  return task(
    platform.onVm(vm, { name: '还原快照', eventType: eventTypes.snapshot }, () =>
      platform.snapshots.revert(vm, asText(body['name']) ?? ''),
    ),
  );
}

/** Snapshots of whole machines. */
export const snapshotRoutes: Route[] = [
  get('/vm/snapshot/:id', async ({ params, platform }) => {
    const all = await platform.snapshots.list(platform.machines.get(idOf(params['id'])));
    return list('snapshot', tree(all, null));
  }),
  post('/vm/snapshot', createSnapshot),
  put('/vm/snapshot/resume', revertSnapshot),
  del('/vm/snapshot/:id/:name', deleteSnapshot),
];
