import { rm } from 'node:fs/promises';
import { nicXml } from '../host/domain-xml.js';
import { plugDisk, takenTargets } from '../platform/hardware.js';
import { macAddress } from '../platform/machines.js';
import { migrate } from '../platform/migration.js';
import { type VmRecord } from '../platform/state.js';
import { CasError, casErrorCodes } from '../rest/cas-error.js';
import { asList, asNumber, asSection, asText, type RequestBody } from '../rest/request-body.js';
import { eventTypes } from '../rest/task-board.js';
import { type Platform } from './platform.js';
import { del, get, idOf, list, one, page, post, put, task, type CasCall, type Route } from './route.js';
import { makeDisk, makeDisks, nicOf, readNewMachine } from './vm-create.js';
import { vmDetail, vmFlat, vmRow, vmRows } from './vm-view.js';

const refuse = (message: string): CasError => new CasError(casErrorCodes.unknown, message);

/** Throws "no such virtual machine". */
const vmById = ({ params, platform }: CasCall): VmRecord => platform.machines.get(idOf(params['id']));

function vmByUuid({ params, platform }: CasCall): VmRecord {
  const found = platform.machines.all.find((vm) => vm.uuid === params['uuid']);
  if (!found) throw new CasError(casErrorCodes.noSuchVm, '虚拟机不存在。');
  return found;
}

function vmByName({ params, platform }: CasCall): VmRecord {
  const found = platform.machines.all.find((vm) => vm.name === params['name']);
  if (!found) throw new CasError(casErrorCodes.noSuchVm, '虚拟机不存在。');
  return found;
}

/** The machine that a body names by `id` or `uuid`. */
export function vmOfBody(platform: Platform, body: RequestBody, key = 'id'): VmRecord {
  const uuid = asText(body['uuid']);
  const byUuid = platform.machines.all.find((vm) => vm.uuid === uuid);
  return byUuid ?? platform.machines.get(asNumber(body[key]) ?? Number.NaN);
}

/** Filters of `GET /vm/vmList`; the name matches in part. */
function matches(query: CasCall['query']): (vm: VmRecord) => boolean {
  const { hostId, uuid, domainName } = query;
  return (vm) =>
    (hostId === undefined || vm.hostId === idOf(hostId)) &&
    (uuid === undefined || vm.uuid === uuid) &&
    (domainName === undefined || vm.name.includes(domainName));
}

async function vmList({ query, platform }: CasCall) {
  const matched = matches(query);
  const wanted = (vm: VmRecord): boolean =>
    matched(vm) && (!vm.isTemplate || platform.settings.templatesInVmList);
  const order = query['sortDir']?.toLowerCase() === 'desc' ? -1 : 1;
  const found = platform.machines.all.filter(wanted).toSorted((a, b) => order * (a.id - b.id));
  const shown = new Set(page(found, query));
  const rows = await vmRows(platform, (vm) => shown.has(vm));
  return list(
    'domain',
    rows.toSorted((a, b) => order * (Number(a['id']) - Number(b['id']))),
  );
}

function addVm({ body, platform }: CasCall) {
  const machine = readNewMachine(platform, body);
  const { name } = machine.spec;
  return task(
    platform.begin({ name: '增加虚拟机', eventType: eventTypes.add, targetName: name }, async () => {
      const disks = await makeDisks(platform, machine);
      try {
        const independent = disks
          .filter((_, index) => isIndependent(machine.storage[index] ?? {}))
          .map(({ target }) => target);
        return { targetId: (await platform.machines.create({ ...machine.spec, disks, independent })).id };
      } catch (error) {
        for (const [index, disk] of disks.entries()) {
          if (asText(machine.storage[index]?.['storeFile']) === undefined)
            await rm(disk.path, { force: true });
        }
        throw error;
      }
    }),
  );
}

function deleteVm(platform: Platform, vm: VmRecord, deleteDisks: boolean) {
  return task(
    platform.onVm(vm, { name: '删除虚拟机', eventType: eventTypes.delete }, async () => {
      if ((await platform.machines.powerState(vm)) !== 'shutOff') throw refuse('虚拟机未关闭，不能删除。');
      await platform.machines.remove(vm, deleteDisks);
    }),
  );
}

type PowerVerb = 'start' | 'stop' | 'powerOff' | 'restart' | 'pause' | 'restore';
const verbs: Readonly<Record<PowerVerb, { name: string; eventType: number; from: string[] }>> = {
  start: { name: '启动虚拟机', eventType: eventTypes.start, from: ['shutOff'] },
  stop: { name: '关闭虚拟机', eventType: eventTypes.stop, from: ['running'] },
  powerOff: { name: '关闭虚拟机电源', eventType: eventTypes.powerOff, from: ['running', 'paused'] },
  restart: { name: '重启虚拟机', eventType: eventTypes.restart, from: ['running'] },
  pause: { name: '暂停虚拟机', eventType: eventTypes.pause, from: ['running'] },
  restore: { name: '恢复虚拟机', eventType: eventTypes.restore, from: ['paused'] },
};

async function act(platform: Platform, vm: VmRecord, verb: PowerVerb): Promise<void> {
  const { machines } = platform;
  const state = await machines.powerState(vm);
  if (!verbs[verb].from.includes(state)) throw refuse(`虚拟机当前状态（${state}）不允许此操作。`);
  if (verb === 'start') await machines.start(vm);
  else if (verb === 'powerOff') await machines.powerOff(vm);
  else if (verb === 'pause') await machines.suspend(vm);
  else if (verb === 'restore') await machines.resume(vm);
  else await machines.shutDown(vm, platform.settings.guestStopMs);
  if (verb === 'restart') await machines.start(vm);
}

const power = (verb: PowerVerb): Route =>
  put(`/vm/${verb}/:id`, (call) => {
    const vm = vmById(call);
    return task(call.platform.onVm(vm, verbs[verb], () => act(call.platform, vm, verb)));
  });

/** `PUT /vm/modify` with the sections that the lab can change; what libvirt holds is changed there, for the next boot. */
function modifyVm({ body, platform }: CasCall) {
  const vm = vmOfBody(platform, body);
  return task(
    platform.onVm(vm, { name: '修改虚拟机', eventType: eventTypes.modify }, async () => {
      const { libvirt } = platform.machines.host(vm.hostId);
      const basic = asSection(body['basic']);
      if (basic) {
        vm.description = asText(basic['desc']) ?? (basic['desc'] === '' ? '' : vm.description);
        vm.title = asText(basic['title']) ?? vm.title;
        vm.osVersion = asText(basic['osVersion']) ?? vm.osVersion;
      }
      const cpu = asSection(body['cpu']);
      if (cpu) {
        const count = String((asNumber(cpu['cpuSockets']) ?? 1) * (asNumber(cpu['cpuCores']) ?? 1));
        await libvirt.run(['setvcpus', vm.uuid, count, '--maximum', '--config']);
        await libvirt.run(['setvcpus', vm.uuid, count, '--config']);
      }
      const size = asNumber(asSection(body['memory'])?.['size']);
      if (size !== undefined) {
        await libvirt.run(['setmaxmem', vm.uuid, `${String(size)}M`, '--config']);
        await libvirt.run(['setmem', vm.uuid, `${String(size)}M`, '--config']);
      }
      for (const row of asList(body['network'])) changePort(platform, vm, row);
      await platform.file.save();
    }),
  );
}

function changePort(platform: Platform, vm: VmRecord, row: RequestBody): void {
  const mac = (asText(row['mac']) ?? '').toLowerCase();
  const port = vm.ports[mac];
  if (!port) throw refuse(`虚拟机没有网卡 ${mac}。`);
  const { switchId, profileId } = nicOf(platform, { vsId: port.switchId, ...row });
  vm.ports[mac] = { switchId, profileId };
}

/** Where a device goes: into a running machine and its stored description, or the latter alone. */
async function devicePlace(platform: Platform, vm: VmRecord): Promise<'both' | 'config'> {
  return (await platform.machines.powerState(vm)) === 'shutOff' ? 'config' : 'both';
}

function addDevice({ body, platform }: CasCall) {
  const vm = vmOfBody(platform, body);
  return task(
    platform.onVm(vm, { name: '增加硬件', eventType: eventTypes.modify }, async () => {
      const { libvirt } = platform.machines.host(vm.hostId);
      const place = await devicePlace(platform, vm);
      for (const row of asList(body['storage'])) {
        const disk = await makeDisk(platform, vm, row, await takenTargets(platform.machines, vm));
        await plugDisk(platform.machines, vm, disk);
        if (isIndependent(row)) vm.independent.push(disk.target);
      }
      for (const row of asList(body['network'])) {
        const nic = nicOf(platform, row);
        const mac = nic.mac === '' ? macAddress(vm.id, Object.keys(vm.ports).length + 16) : nic.mac;
        await libvirt.attachDevice(vm.uuid, nicXml({ ...nic, mac }), place);
        vm.ports[mac] = { switchId: nic.switchId, profileId: nic.profileId };
      }
      await platform.file.save();
    }),
  );
}

/** `diskMode` of a disk in the mode that no snapshot touches (R4); every other word is the dependent one. */
const isIndependent = (row: RequestBody): boolean => /independent/i.test(asText(row['diskMode']) ?? '');

/** Moves a machine to another host, running or not. */
function migrateVm({ body, platform }: CasCall) {
  const vm = vmOfBody(platform, body);
  const target = asNumber(body['targetHostId']) ?? Number.NaN;
  return task(
    platform.onVm(vm, { name: '迁移虚拟机', eventType: eventTypes.migrate }, () =>
      migrate(platform.machines, vm, target),
    ),
  );
}

/** That a network card is named by its address is a guess of the emulation and the client alike. */
async function unplugCard(
  platform: Platform,
  vm: VmRecord,
  row: RequestBody,
  place: 'both' | 'config',
): Promise<void> {
  const mac = (asText(row['mac']) ?? '').toLowerCase();
  if (!vm.ports[mac]) throw refuse(`虚拟机没有网卡 ${mac}。`);
  const where = place === 'both' ? ['--config', '--live'] : ['--config'];
  const { libvirt } = platform.machines.host(vm.hostId);
  await libvirt.run(['detach-interface', vm.uuid, 'user', '--mac', mac, ...where]);
  vm.ports = Object.fromEntries(Object.entries(vm.ports).filter(([one]) => one !== mac));
  await platform.file.save();
}

/** Unplugs; a disk's file stays. */
function delDevice({ body, platform }: CasCall) {
  const vm = vmOfBody(platform, body);
  return task(
    platform.onVm(vm, { name: '删除硬件', eventType: eventTypes.modify }, async () => {
      const place = await devicePlace(platform, vm);
      for (const row of asList(body['storage'])) {
        const target = asText(row['deviceName']) ?? asText(row['device']) ?? '';
        await platform.machines.host(vm.hostId).libvirt.detachDisk(vm.uuid, target, place);
      }
      for (const row of asList(body['network'])) await unplugCard(platform, vm, row, place);
    }),
  );
}

/** Machines: lists, descriptions, making, changing, deleting, power. */
export const vmRoutes: Route[] = [
  get('/vm/vmList', vmList),
  get('/vm/domains', vmList),
  get('/vm/list/basicInfo', vmList),
  get('/vm/isExist', ({ query, platform }) =>
    one('result', { exist: platform.machines.all.some((vm) => vm.name === query['name']) }),
  ),
  get('/vm/:id', async (call) => one('domain', await vmFlat(call.platform, vmById(call)))),
  get('/vm/uuid/:uuid', async (call) => one('domain', await vmFlat(call.platform, vmByUuid(call)))),
  get('/vm/detail/:id', async (call) => one('domain', await vmDetail(call.platform, vmById(call)))),
  get('/vm/detail/uuid/:uuid', async (call) => one('domain', await vmDetail(call.platform, vmByUuid(call)))),
  get('/vm/basicInfo/:name', async (call) => one('domain', await vmRow(call.platform, vmByName(call)))),
  get('/vm/:id/status', async (call) => one('domain', await vmRow(call.platform, vmById(call)))),
  get('/vm/:id/storage', async (call) => {
    const { storage } = await vmFlat(call.platform, vmById(call));
    return one('list', { storage });
  }),
  get('/vm/:id/network', async (call) => {
    const { network } = await vmFlat(call.platform, vmById(call));
    return one('list', { network });
  }),
  post('/vm/add', addVm),
  put('/vm/modify', modifyVm),
  put('/vm/addDevice', addDevice),
  put('/vm/delDevice', delDevice),
  put('/vm/migrate', migrateVm),
  del('/vm/delete/:id', (call) => deleteVm(call.platform, vmById(call), false)),
  del('/vm/deleteVm', ({ query, platform }) =>
    deleteVm(platform, platform.machines.get(idOf(query['id'])), query['type'] === '1'),
  ),
  ...(['start', 'stop', 'powerOff', 'restart', 'pause', 'restore'] as const).map(power),
];
