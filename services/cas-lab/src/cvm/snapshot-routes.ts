import { escapeXml } from '@casvault/libvirt';
import { XMLParser } from 'fast-xml-parser';
import { z } from 'zod';
import { type VmRecord } from '../platform/state.js';
import { CasError, casErrorCodes } from '../rest/cas-error.js';
import { asText } from '../rest/request-body.js';
import { type Fields } from '../rest/shape.js';
import { casTime, eventTypes } from '../rest/task-board.js';
import { type Platform } from './platform.js';
import { del, get, idOf, list, post, put, task, type CasCall, type Route } from './route.js';
import { vmOfBody } from './vm-routes.js';

const parser = new XMLParser({ parseTagValue: false });
const documentSchema = z.object({
  domainsnapshot: z.object({
    name: z.string(),
    creationTime: z.string(),
    parent: z.object({ name: z.string() }).optional(),
  }),
});

interface Snapshot {
  readonly name: string;
  readonly parent: string | null;
  readonly createdAt: Date;
}

async function snapshotsOf(platform: Platform, vm: VmRecord): Promise<Snapshot[]> {
  const { libvirt } = platform.machines.host(vm.hostId);
  const found: Snapshot[] = [];
  for (const name of await libvirt.snapshotNames(vm.uuid)) {
    const { domainsnapshot } = documentSchema.parse(parser.parse(await libvirt.snapshotXml(vm.uuid, name)));
    found.push({
      name,
      parent: domainsnapshot.parent?.name ?? null,
      createdAt: new Date(Number(domainsnapshot.creationTime) * 1000),
    });
  }
  return found;
}

/** The tree, nested as the CVM nests it: every snapshot holds those that were taken on top of it. */
function tree(vm: VmRecord, all: readonly Snapshot[], parent: string | null, current: string): Fields[] {
  return all
    .filter((snapshot) => snapshot.parent === parent)
    .map((snapshot) => {
      const record = vm.snapshots.find((one) => one.name === snapshot.name);
      return {
        name: snapshot.name,
        snapshotTitle: record?.title ?? snapshot.name,
        desc: record?.description ?? '',
        isCurr: snapshot.name === current ? 1 : 0,
        creationTime: casTime(snapshot.createdAt),
        snapshots: tree(vm, all, snapshot.name, current),
      };
    });
}

async function snapshotTree(platform: Platform, vm: VmRecord): Promise<Fields[]> {
  const { libvirt } = platform.machines.host(vm.hostId);
  const current = await libvirt.run(['snapshot-current', vm.uuid, '--name']).catch(() => '');
  return tree(vm, await snapshotsOf(platform, vm), null, current.trim());
}

function createSnapshot({ body, platform }: CasCall) {
  const vm = vmOfBody(platform, body, 'vmId');
  const name = asText(body['name']) ?? `snapshot${String(platform.clock().getTime())}`;
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(name)) throw new CasError(casErrorCodes.unknown, '快照名称不合法。');
  return task(
    platform.onVm(vm, { name: '创建快照', eventType: eventTypes.snapshot }, async () => {
      const xml = `<domainsnapshot><name>${escapeXml(name)}</name></domainsnapshot>`;
      await platform.machines.host(vm.hostId).libvirt.snapshotCreate(vm.uuid, xml);
      const title = asText(body['snapshotTitle']) ?? name;
      vm.snapshots.push({ name, title, description: asText(body['desc']) ?? '' });
      await platform.file.save();
    }),
  );
}

function deleteSnapshot({ params, platform }: CasCall) {
  const vm = platform.machines.get(idOf(params['id']));
  const name = params['name'] ?? '';
  return task(
    platform.onVm(vm, { name: '删除快照', eventType: eventTypes.snapshot }, async () => {
      await platform.machines.host(vm.hostId).libvirt.snapshotDelete(vm.uuid, name);
      vm.snapshots = vm.snapshots.filter((one) => one.name !== name);
      await platform.file.save();
    }),
  );
}

function revertSnapshot({ body, platform }: CasCall) {
  const vm = vmOfBody(platform, body, 'vmId');
  return task(
    platform.onVm(vm, { name: '还原快照', eventType: eventTypes.snapshot }, async () => {
      await platform.machines.host(vm.hostId).libvirt.snapshotRevert(vm.uuid, asText(body['name']) ?? '');
    }),
  );
}

/** Internal snapshots, as libvirt takes them: with the memory of a running machine. */
export const snapshotRoutes: Route[] = [
  get('/vm/snapshot/:id', async ({ params, platform }) => {
    const vm = platform.machines.get(idOf(params['id']));
    return list('snapshot', await snapshotTree(platform, vm));
  }),
  post('/vm/snapshot', createSnapshot),
  put('/vm/snapshot/resume', revertSnapshot),
  del('/vm/snapshot/:id/:name', deleteSnapshot),
];
