import { Fault } from '@casvault/contracts';
import { type z } from 'zod';
import { type Call, CasCaller, type Query } from './caller.js';
import { type Architecture, judgeCompatibility } from './compatibility.js';
import {
  type AttachedDisk,
  attachedDiskBody,
  attachedNicBody,
  cpuBody,
  detachedNicBody,
  memoryBody,
  type Processors,
} from './device.js';
import { type CasHost, type CasHostRow, hostDetailSchema, hostRowSchema } from './host.js';
import { type CasConnection, HttpTransport } from './http-transport.js';
import {
  type CasNetworkProfile,
  type CasVirtualSwitch,
  networkProfileSchema,
  virtualSwitchSchema,
} from './network.js';
import { type NewNic, type NewVm, newVmBody } from './new-vm.js';
import { type CasSnapshot, newSnapshotBody, type NewSnapshot, snapshotsOf } from './snapshot.js';
import {
  type CasStoragePool,
  type CasStorageVolume,
  storagePoolSchema,
  storageVolumeSchema,
} from './storage.js';
import { type CasTemplate, convertItself, type Deployment, deploymentBody, templateOf } from './template.js';
import { defaultTaskTiming, TaskRunner, type TaskTiming } from './task.js';
import { type CasVmDetail, type CasVmRow, vmDetailSchema, vmRowSchema } from './vm.js';
import { listOf, parseAs, type Wire } from './wire.js';

export interface CasClientOptions extends CasConnection {
  /** Spoken first; JSON unless told otherwise. */
  readonly format?: 'json' | 'xml';
  readonly timing?: Partial<TaskTiming>;
}

export interface CasPlatformFacts {
  /** As the CVM tells it: `V7.0 (E0760)`. */
  readonly versionText: string;
  /** `E0760` */
  readonly release: string;
  readonly architecture: Architecture;
}

export interface CasVm {
  readonly detail: CasVmDetail;
  /** The CVM's reply, whole. */
  readonly configuration: Readonly<Record<string, unknown>>;
}

const pageSize = 200;
/** No list is read further than this: 100,000 rows, ten times the largest platform. */
const maxPages = 500;

type Rows<T> = T extends z.ZodType ? z.output<T>[] : never;

/**
 * One CVM. Every call takes an AbortSignal, throws only Faults and never puts a secret into one.
 * Reads use at most 4 connections; writes wait for their task. Close it when done.
 */
export class CasClient {
  private readonly transport: HttpTransport;
  private readonly caller: CasCaller;
  private readonly tasks: TaskRunner;

  constructor(options: CasClientOptions) {
    this.transport = new HttpTransport(options);
    this.caller = new CasCaller(this.transport, options.format);
    this.tasks = new TaskRunner(this.caller, { ...defaultTaskTiming, ...options.timing });
  }

  close(): void {
    this.transport.close();
  }

  // ---- the platform

  /**
   * C1 and C2: signs in, asks for the version, tells whether the account is a system administrator, and judges version
   * and architecture. Each cause has its own fault.
   *
   * No public material shows a call that names the account's role. Deduced: the credentials are good when
   * `operator/test` takes them; an account to which the same CVM then refuses the list of host pools or hosts (401, 403,
   * or a text that speaks of permission) lacks the right to it, which a system administrator always has.
   */
  async probe(signal?: AbortSignal): Promise<CasPlatformFacts> {
    await this.test(signal);
    const versionText = await this.version(signal);
    const hosts = await this.asAdministrator(async () => {
      await this.get('/hostpool/all', 'list the host pools', {}, signal);
      return this.hosts(signal);
    });
    const architectures = new Set<Architecture>();
    for (const row of hosts) architectures.add((await this.host(row.id, signal)).architecture);
    if (architectures.size === 0) architectures.add('x86_64');
    let facts: CasPlatformFacts | null = null;
    for (const architecture of architectures) {
      const judged = judgeCompatibility(versionText, architecture);
      if (judged.verdict === 'unsupported') {
        throw new Fault('PLATFORM_VERSION_UNSUPPORTED', judged.reason, {
          details: { version: versionText, architecture },
        });
      }
      facts ??= { versionText, release: judged.release, architecture };
    }
    if (facts === null) throw new Fault('BUG', 'no architecture was judged');
    return facts;
  }

  /** Signs in. Throws PLATFORM_LOGIN_REFUSED, or what the connection failed with. */
  async test(signal?: AbortSignal): Promise<void> {
    await this.get('/operator/test', 'sign in', {}, signal);
  }

  async version(signal?: AbortSignal): Promise<string> {
    const reply = await this.get('/version', 'tell its version', {}, signal);
    const found = typeof reply === 'object' && reply !== null && !Array.isArray(reply) ? reply : {};
    const version = found['casVersion'] ?? found['version'];
    if (typeof version !== 'string' || version === '')
      throw new Fault('PLATFORM_PROTOCOL', 'the CVM does not tell its version');
    return version;
  }

  // ---- hosts

  async hosts(signal?: AbortSignal): Promise<CasHostRow[]> {
    return this.list('/host', 'host', hostRowSchema, {}, signal);
  }

  async host(id: string, signal?: AbortSignal): Promise<CasHost> {
    const reply = await this.get(`/host/id/${enc(id)}`, `describe host ${id}`, {}, signal);
    return parseAs(hostDetailSchema, reply, `host ${id}`);
  }

  async storagePools(hostId: string, signal?: AbortSignal): Promise<CasStoragePool[]> {
    return this.list('/storage/pool', 'storagePool', storagePoolSchema, { hostId }, signal);
  }

  /** The CVM counts pages of volumes in `pageSize`, unlike all others. */
  async storageVolumes(hostId: string, poolName: string, signal?: AbortSignal): Promise<CasStorageVolume[]> {
    const page = (offset: number) =>
      this.list(
        '/storage/volume',
        'storageVolume',
        storageVolumeSchema,
        { hostId, poolName, offset, pageSize },
        signal,
      );
    return readPages(page, (volume) => volume.name);
  }

  async addVolume(
    volume: { hostId: string; poolName: string; name: string; sizeMiB: number; format: 'qcow2' | 'raw' },
    signal?: AbortSignal,
  ): Promise<void> {
    const { hostId, poolName, name, sizeMiB, format } = volume;
    const fields = { hostId, spName: poolName, spTitle: poolName, volName: name, capacity: sizeMiB, format };
    await this.write({
      method: 'POST',
      path: '/storage/volume/add',
      what: `make volume ${name} in ${poolName}`,
      body: { root: 'volAddParameter', fields },
      ...opt(signal),
    });
  }

  async deleteVolume(hostId: string, poolName: string, name: string, signal?: AbortSignal): Promise<void> {
    await this.write({
      method: 'DELETE',
      path: `/storage/volume/delete/${enc(hostId)}/${enc(poolName)}/${enc(name)}`,
      what: `delete volume ${name} in ${poolName}`,
      ...opt(signal),
    });
  }

  async virtualSwitches(hostId: string, signal?: AbortSignal): Promise<CasVirtualSwitch[]> {
    return this.list(`/host/id/${enc(hostId)}/vswitch`, 'vSwitch', virtualSwitchSchema, {}, signal);
  }

  async networkProfiles(signal?: AbortSignal): Promise<CasNetworkProfile[]> {
    return this.list('/profile', 'portProfile', networkProfileSchema, {}, signal);
  }

  // ---- virtual machines

  /** All VMs of the platform, templates left out. Memory: one row of some 400 bytes for each VM. */
  async vms(signal?: AbortSignal): Promise<CasVmRow[]> {
    const page = (offset: number) => this.vmPage({ offset, limit: pageSize }, signal);
    const all = await readPages(page, (vm) => vm.externalId);
    return all.filter((vm) => vm.powerState !== 'template');
  }

  /** The VM or template of exactly this name. */
  async vmByName(name: string, signal?: AbortSignal): Promise<CasVmRow | null> {
    // The CVM matches a part of the name.
    const page = (offset: number) => this.vmPage({ domainName: name, offset, limit: pageSize }, signal);
    const found = await readPages(page, (vm) => vm.externalId);
    return found.find((vm) => vm.name === name) ?? null;
  }

  /** Null also for what has become a template. */
  async vmByUuid(uuid: string, signal?: AbortSignal): Promise<CasVmRow | null> {
    const found = await this.vmPage({ uuid, offset: 0, limit: pageSize }, signal);
    return found.find((vm) => vm.uuid === uuid.toLowerCase() && vm.powerState !== 'template') ?? null;
  }

  /** Disks and NICs as one shape, and the reply itself. Throws VM_NOT_FOUND. */
  async vm(id: string, signal?: AbortSignal): Promise<CasVm> {
    try {
      const reply = await this.get(`/vm/detail/${enc(id)}`, `describe VM ${id}`, {}, signal);
      if (typeof reply !== 'object' || reply === null || Array.isArray(reply))
        throw new Fault('PLATFORM_PROTOCOL', `the CVM does not describe VM ${id}`);
      return { detail: parseAs(vmDetailSchema, reply, `VM ${id}`), configuration: reply };
    } catch (error) {
      if (Fault.is(error) && error.code === 'NOT_FOUND')
        throw new Fault('VM_NOT_FOUND', `the CVM knows no VM ${id}`, { cause: error });
      throw error;
    }
  }

  /** `vm` with the `description` of the flat reply (`GET /vm/{id}`) where the sectioned one has none. */
  async describedVm(id: string, signal?: AbortSignal): Promise<CasVm> {
    const vm = await this.vm(id, signal);
    if (vm.detail.description !== '') return vm;
    const reply = await this.get(`/vm/${enc(id)}`, `describe VM ${id}`, {}, signal);
    const { description } = parseAs(vmDetailSchema, reply, `VM ${id}`);
    return { ...vm, detail: { ...vm.detail, description } };
  }

  /** Makes a VM, powered off, with empty disks. Replies with its id where the CVM tells it. */
  async addVm(vm: NewVm, signal?: AbortSignal): Promise<string | null> {
    const call: Call = {
      method: 'POST',
      path: '/vm/add',
      what: `make VM ${vm.name}`,
      body: newVmBody(vm),
      ...opt(signal),
    };
    const task = await this.write(call);
    return task === null || task.targetId === '' ? null : task.targetId;
  }

  async describeVm(id: string, description: string, signal?: AbortSignal): Promise<void> {
    await this.write({
      method: 'PUT',
      path: '/vm/modify',
      what: `change the description of VM ${id}`,
      body: { root: 'domain', fields: { id, basic: { desc: description } } },
      ...opt(signal),
    });
  }

  /** CPUs and memory of a VM that is off. */
  async resizeVm(id: string, size: Processors & { memoryMiB: number }, signal?: AbortSignal): Promise<void> {
    const call = { method: 'PUT', path: '/vm/modify', ...opt(signal) } as const;
    await this.write({ ...call, what: `change the CPUs of VM ${id}`, body: cpuBody(id, size) });
    await this.write({
      ...call,
      what: `change the memory of VM ${id}`,
      body: memoryBody(id, size.memoryMiB),
    });
  }

  async attachNic(vm: { id: string; name: string }, nic: NewNic, signal?: AbortSignal): Promise<void> {
    const what = `give VM ${vm.name} a network card`;
    const body = attachedNicBody(vm, nic);
    await this.write({ method: 'PUT', path: '/vm/addDevice', what, body, ...opt(signal) });
  }

  async detachNic(vm: { id: string; name: string }, mac: string, signal?: AbortSignal): Promise<void> {
    const what = `take network card ${mac} from VM ${vm.name}`;
    const body = detachedNicBody(vm, mac);
    await this.write({ method: 'PUT', path: '/vm/delDevice', what, body, ...opt(signal) });
  }

  /** Plugs a volume into a VM: at once where its bus has hot plug or the VM is off, else at its next boot. */
  async attachDisk(
    vm: { id: string; name: string },
    disk: AttachedDisk,
    signal?: AbortSignal,
  ): Promise<void> {
    await this.write({
      method: 'PUT',
      path: '/vm/addDevice',
      what: `attach ${disk.path} to VM ${vm.name}`,
      body: attachedDiskBody(vm, disk),
      ...opt(signal),
    });
  }

  /** Unplugs a disk; its volume stays. */
  async detachDisk(vm: { id: string; name: string }, target: string, signal?: AbortSignal): Promise<void> {
    await this.write({
      method: 'PUT',
      path: '/vm/delDevice',
      what: `detach ${target} from VM ${vm.name}`,
      body: { root: 'domain', fields: { ...vm, storage: { deviceName: target } } },
      ...opt(signal),
    });
  }

  /** Deletes a VM and, unless told otherwise, its disks. */
  async deleteVm(id: string, options: { keepDisks: boolean }, signal?: AbortSignal): Promise<void> {
    await this.write({
      method: 'DELETE',
      path: '/vm/deleteVm',
      what: `delete VM ${id}`,
      query: { id, type: options.keepDisks ? 0 : 1, isWipeVolume: 'false' },
      ...opt(signal),
    });
  }

  // ---- templates

  /** All templates of the platform. Memory: one row of some 300 bytes each. */
  async templates(signal?: AbortSignal): Promise<CasTemplate[]> {
    const page = (offset: number) =>
      this.list('/vmTemplate/vmTemplateList', 'domain', vmRowSchema, { offset, limit: pageSize }, signal);
    const listed = await readPages(page, (row) => row.externalId);
    return listed.map(templateOf);
  }

  async templateByName(name: string, signal?: AbortSignal): Promise<CasTemplate | null> {
    return (await this.templates(signal)).find((template) => template.name === name) ?? null;
  }

  /** Makes a template of a VM that is shut off: its disks stay where they are, and it is no VM any more. */
  async convertToTemplate(
    vm: { id: string; name: string },
    description: string,
    signal?: AbortSignal,
  ): Promise<void> {
    await this.write({
      method: 'POST',
      path: '/vmTemplate/addVmTemplate',
      what: `make VM ${vm.name} a template`,
      query: { id: vm.id, domainName: vm.name, desc: description, opType: convertItself },
      ...opt(signal),
    });
  }

  /** Makes a VM, shut off, from a template. Replies with its id where the CVM tells it. */
  async deployVm(deployment: Deployment, signal?: AbortSignal): Promise<string | null> {
    const task = await this.write({
      method: 'POST',
      path: '/vm/deploy',
      what: `deploy VM ${deployment.name}`,
      body: deploymentBody(deployment),
      ...opt(signal),
    });
    return task === null || task.targetId === '' ? null : task.targetId;
  }

  /** Deletes a template with its disks; refused while linked clones stand on them. */
  async deleteTemplate(id: string, signal?: AbortSignal): Promise<void> {
    await this.write({
      method: 'DELETE',
      path: '/vmTemplate/deleteVmTemplate',
      what: `delete template ${id}`,
      query: { id },
      ...opt(signal),
    });
  }

  // ---- power

  async startVm(id: string, signal?: AbortSignal): Promise<void> {
    await this.power('start', id, signal);
  }

  /** Asks the guest to shut down. */
  async stopVm(id: string, signal?: AbortSignal): Promise<void> {
    await this.power('stop', id, signal);
  }

  /** Cuts the power. */
  async powerOffVm(id: string, signal?: AbortSignal): Promise<void> {
    await this.power('powerOff', id, signal);
  }

  // ---- snapshots

  /** All snapshots of a VM, whoever made them. */
  async snapshots(id: string, signal?: AbortSignal): Promise<CasSnapshot[]> {
    return snapshotsOf(
      await this.get(`/vm/snapshot/${enc(id)}`, `list the snapshots of VM ${id}`, {}, signal),
    );
  }

  /** All disks of one instant, without memory. Which disks an external one takes is the platform's choice (R4). */
  async createSnapshot(snapshot: NewSnapshot, signal?: AbortSignal): Promise<void> {
    await this.write({
      method: 'POST',
      path: '/vm/snapshot',
      what: `make snapshot ${snapshot.name} of VM ${snapshot.vmExternalId}`,
      body: newSnapshotBody(snapshot),
      ...opt(signal),
    });
  }

  /** Removes one snapshot; an external one's layer is merged back, while the VM runs too. */
  async deleteSnapshot(id: string, name: string, signal?: AbortSignal): Promise<void> {
    await this.write({
      method: 'DELETE',
      path: `/vm/snapshot/${enc(id)}/${enc(name)}`,
      what: `delete snapshot ${name} of VM ${id}`,
      ...opt(signal),
    });
  }

  // ----

  private async power(verb: string, id: string, signal: AbortSignal | undefined): Promise<void> {
    await this.write({
      method: 'PUT',
      path: `/vm/${verb}/${enc(id)}`,
      what: `${verb} VM ${id}`,
      body: { root: 'domain', fields: {} },
      ...opt(signal),
    });
  }

  private async vmPage(query: Query, signal: AbortSignal | undefined): Promise<CasVmRow[]> {
    return this.list(
      '/vm/vmList',
      'domain',
      vmRowSchema,
      { ...query, sortField: 'id', sortDir: 'Asc' },
      signal,
    );
  }

  private async write(call: Call) {
    return this.tasks.run(call);
  }

  private async get(
    path: string,
    what: string,
    query: Query,
    signal: AbortSignal | undefined,
  ): Promise<Wire> {
    return this.caller.call({ method: 'GET', path, what, query, ...opt(signal) });
  }

  private async list<T extends z.ZodType>(
    path: string,
    key: string,
    item: T,
    query: Query,
    signal: AbortSignal | undefined,
  ): Promise<Rows<T>> {
    const reply = await this.get(path, `list ${key}`, query, signal);
    return listOf(reply, key).map((row) => parseAs(item, row, key)) as Rows<T>;
  }

  private async asAdministrator<T>(read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      if (!Fault.is(error) || error.code !== 'PLATFORM_LOGIN_REFUSED') throw error;
      throw new Fault(
        'PLATFORM_NOT_ADMINISTRATOR',
        'the CVM takes the password, yet refuses its inventory: a system administrator of the CVM is needed',
        { cause: error },
      );
    }
  }
}

const enc = encodeURIComponent;
const opt = (signal: AbortSignal | undefined): { signal?: AbortSignal } =>
  signal === undefined ? {} : { signal };

/**
 * Reads pages until one is short. The CVM gives no total: a page with nothing new ends the reading too, for a CVM that
 * ignores the offset.
 */
const readPages = async <T>(
  page: (offset: number) => Promise<T[]>,
  keyOf: (item: T) => string,
): Promise<T[]> => {
  const all = new Map<string, T>();
  let offset = 0;
  for (let number = 0; number < maxPages; number += 1) {
    const items = await page(offset);
    const before = all.size;
    for (const item of items) all.set(keyOf(item), item);
    offset += items.length;
    if (items.length < pageSize || all.size === before) return [...all.values()];
  }
  throw new Fault('PLATFORM_PROTOCOL', `a list of the CVM does not end after ${maxPages} pages`);
};
