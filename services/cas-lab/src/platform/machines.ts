import { createHash, randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { chown } from 'node:fs/promises';
import { Fault } from '@casvault/contracts';
import { type GuestImages } from '../guest/prepare-guest.js';
import { createEncryptedImage, createFilledImage } from '../host/disk-images.js';
import { domainXml, type DomainDiskSpec, type DomainNicSpec } from '../host/domain-xml.js';
import { type LabHost } from '../host/lab-host.js';
import { WorkloadControl } from '../host/workload-control.js';
import { type DiskFacts, domainFacts, type DomainFacts } from './domain-facts.js';
import { type StateFile, type VmRecord } from './state.js';
import { type VmPlan } from './vm-plan.js';

export type PowerState = 'running' | 'shutOff' | 'paused' | 'unknown';

/** What a new machine is made of; its disks' files exist. */
export interface MachineSpec {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly hostId: number;
  readonly memoryMiB: number;
  readonly cpuCount: number;
  /** Default 1. */
  readonly coresPerSocket?: number;
  readonly disks: readonly DomainDiskSpec[];
  readonly nics: readonly (DomainNicSpec & { switchId: number; profileId: number | null })[];
  readonly guest: keyof GuestImages;
  readonly osVersion: string;
  readonly system: number;
  /** Targets of disks in independent-persistent mode (R4). */
  readonly independent: readonly string[];
}

const powerStates: Readonly<Record<string, PowerState>> = {
  running: 'running',
  blocked: 'running',
  'shutting-down': 'running',
  paused: 'paused',
  suspended: 'paused',
  'shut-off': 'shutOff',
  crashed: 'shutOff',
};

/** H3C's prefix; the rest counts up from the machine's number, so that no two are alike. */
export const macAddress = (vmId: number, index: number): string =>
  ['0c', 'da', '41', vmId >> 8, vmId & 255, index]
    .map((part) => (typeof part === 'number' ? part.toString(16).padStart(2, '0') : part))
    .join(':');

const targetPrefixes: Readonly<Record<string, string>> = { virtio: 'vd', scsi: 'sd', ide: 'hd', usb: 'sd' };
/** The first free device name of a bus: `vda`, `vdb` ... */
export function freeTarget(bus: string, taken: readonly string[]): string {
  const prefix = targetPrefixes[bus] ?? 'vd';
  for (let index = 0; index < 26; index++) {
    const target = prefix + String.fromCharCode(97 + index);
    if (!taken.includes(target)) return target;
  }
  throw new Fault('CONFLICT', `no free device name on bus ${bus}`);
}

/** The lab's machines: the CVM's record of each, joined to its libvirt domain on its host. */
export class Machines {
  readonly #hosts: ReadonlyMap<number, LabHost>;
  readonly #file: StateFile;
  readonly #guests: GuestImages;
  readonly #clock: () => Date;
  readonly #controls = new Map<number, WorkloadControl>();
  /** Machines whose guests do not hear the power button. */
  readonly #deaf = new Set<number>();

  constructor(hosts: ReadonlyMap<number, LabHost>, file: StateFile, guests: GuestImages, clock: () => Date) {
    this.#hosts = hosts;
    this.#file = file;
    this.#guests = guests;
    this.#clock = clock;
  }

  get all(): readonly VmRecord[] {
    return this.#file.state.vms;
  }

  /** Throws VM_NOT_FOUND. */
  get(id: number): VmRecord {
    const found = this.all.find((vm) => vm.id === id);
    if (!found) throw new Fault('VM_NOT_FOUND', `no virtual machine with id ${String(id)}`);
    return found;
  }

  /** Throws NOT_FOUND. */
  host(id: number): LabHost {
    const found = this.#hosts.get(id);
    if (!found) throw new Fault('NOT_FOUND', `no host with id ${String(id)}`);
    return found;
  }

  async facts(vm: VmRecord): Promise<DomainFacts> {
    return domainFacts(await this.host(vm.hostId).libvirt.domainXml(vm.uuid));
  }

  async powerState(vm: VmRecord): Promise<PowerState> {
    return powerStates[await this.host(vm.hostId).libvirt.state(vm.uuid)] ?? 'unknown';
  }

  /** The states of all machines of a host by one question to libvirt. */
  async powerStates(hostId: number): Promise<ReadonlyMap<string, PowerState>> {
    const domains = await this.host(hostId).libvirt.domains();
    return new Map(domains.map(({ uuid, state }) => [uuid, powerStates[state] ?? 'unknown']));
  }

  /** All of it by one question to libvirt. `pending`: disks that the running guest does not have yet (R10). */
  async look(vm: VmRecord): Promise<{ facts: DomainFacts; state: PowerState; pending: DiskFacts[] }> {
    const { xml, storedXml, state } = await this.host(vm.hostId).libvirt.description(vm.uuid);
    const facts = domainFacts(xml);
    const present = facts.disks.map((disk) => disk.target);
    const pending = domainFacts(storedXml).disks.filter((disk) => !present.includes(disk.target));
    return { facts, state: powerStates[state] ?? 'unknown', pending };
  }

  /** Makes a machine with disks and content by a plan; started, and its workload running, if the plan says so. */
  async createByPlan(plan: VmPlan): Promise<VmRecord> {
    const host = this.host(plan.host);
    const disks: DomainDiskSpec[] = [];
    const independent: string[] = [];
    for (const [index, disk] of plan.disks.entries()) {
      const suffix = index === 0 ? '' : `-${String(index)}`;
      const path = join(host.folders.vms, disk.pool, `${plan.name}${suffix}`);
      const seed = disk.seed ?? seedOf(plan.name, index);
      const target = freeTarget(
        disk.bus,
        disks.map((one) => one.target),
      );
      const secret = disk.encrypted ? await host.makeSecret(path) : undefined;
      if (secret) await createEncryptedImage(path, disk.sizeBytes, secret.passphrase, host.user);
      else await createFilledImage(path, disk.format, disk.sizeBytes, disk.dataBytes, seed, host.user);
      const cache = host.cacheMode(disk.cache);
      const encryption = secret && { secretUuid: secret.uuid };
      disks.push({
        target,
        path,
        format: disk.format,
        bus: disk.bus,
        cache,
        ...(encryption && { encryption }),
      });
      if (disk.mode === 'independent-persistent') independent.push(target);
    }
    const vm = await this.create({
      name: plan.name,
      title: plan.title ?? plan.name,
      description: '',
      hostId: plan.host,
      memoryMiB: plan.memoryMiB,
      cpuCount: plan.cpuCount,
      disks,
      nics: this.#plannedNics(plan),
      guest: plan.guest,
      osVersion: 'Debian GNU/Linux 12 (64-bit)',
      system: 1,
      independent,
    });
    if (plan.running) await this.start(vm);
    if (plan.running && plan.workload) await this.workload(vm).start(plan.workload);
    return vm;
  }

  #plannedNics(plan: VmPlan): MachineSpec['nics'] {
    const onHost = this.#file.state.switches.find((one) => one.hostId === plan.host);
    return Array.from({ length: plan.nics }, () => ({
      mac: '',
      model: 'virtio',
      switchId: onHost?.id ?? 0,
      profileId: this.#file.state.profiles[0]?.id ?? null,
    }));
  }

  /** Defines a machine over files that exist. Throws ALREADY_EXISTS when its name is taken. */
  async create(spec: MachineSpec): Promise<VmRecord> {
    if (this.all.some((vm) => vm.name === spec.name)) {
      throw new Fault('ALREADY_EXISTS', `a virtual machine named ${spec.name} exists`);
    }
    const host = this.host(spec.hostId);
    const id = this.#file.nextId();
    const nics = spec.nics.map((nic, index) => ({
      ...nic,
      mac: nic.mac === '' ? macAddress(id, index) : nic.mac,
    }));
    const record: VmRecord = {
      id,
      uuid: randomUUID(),
      name: spec.name,
      title: spec.title,
      description: spec.description,
      hostId: spec.hostId,
      wanted: 'shutOff',
      createdAt: this.#clock().toISOString(),
      osVersion: spec.osVersion,
      system: spec.system,
      ports: Object.fromEntries(nics.map(({ mac, switchId, profileId }) => [mac, { switchId, profileId }])),
      snapshots: [],
      independent: [...spec.independent],
      isTemplate: false,
    };
    await host.libvirt.define(
      domainXml({
        ...spec,
        uuid: record.uuid,
        nics,
        guest: this.#guests[spec.guest],
        ...this.#sockets(record),
      }),
    );
    this.#file.state.vms.push(record);
    await this.#file.save();
    return record;
  }

  #sockets(
    vm: VmRecord,
    host = this.host(vm.hostId),
  ): { consoleSocket: string; controlSocket: string; consoleLog: string } {
    const { run, root } = host.folders;
    return {
      consoleSocket: join(run, `${String(vm.id)}.console`),
      controlSocket: join(run, `${String(vm.id)}.control`),
      consoleLog: join(root, `console-${vm.name}.log`),
    };
  }

  /** A description of the machine for another host, whose sockets and logs lie elsewhere. */
  withSocketsOf(
    vm: VmRecord,
    from: LabHost,
    to: LabHost,
    xml: string,
    escape: (text: string) => string,
  ): string {
    const there: Readonly<Record<string, string>> = this.#sockets(vm, to);
    return Object.entries(this.#sockets(vm, from)).reduce(
      (text, [name, path]) => text.replaceAll(escape(path), escape(there[name] ?? path)),
      xml,
    );
  }

  /** It is on that host now; its ports are on the switches of the same names there. */
  async moved(vm: VmRecord, hostId: number): Promise<void> {
    const { switches } = this.#file.state;
    for (const port of Object.values(vm.ports)) {
      const name = switches.find((one) => one.id === port.switchId)?.name;
      const there = switches.find((one) => one.hostId === hostId && one.name === name);
      port.switchId = there?.id ?? port.switchId;
    }
    vm.hostId = hostId;
    this.#controls.get(vm.id)?.close();
    this.#controls.delete(vm.id);
    await this.#file.save();
  }

  async start(vm: VmRecord): Promise<void> {
    await this.host(vm.hostId).libvirt.start(vm.uuid);
    await this.want(vm, 'running');
  }

  async powerOff(vm: VmRecord): Promise<void> {
    await this.host(vm.hostId).libvirt.destroy(vm.uuid);
    await this.want(vm, 'shutOff');
  }

  /** Asks the guest to shut down and waits for it. Throws DEADLINE_EXCEEDED when it does not in time. */
  async shutDown(vm: VmRecord, timeoutMs: number): Promise<void> {
    const { libvirt } = this.host(vm.hostId);
    if (!this.#deaf.has(vm.id)) await libvirt.shutdown(vm.uuid);
    for (let waited = 0; (await libvirt.state(vm.uuid)) !== 'shut-off'; waited += 250) {
      if (waited >= timeoutMs) {
        throw new Fault('DEADLINE_EXCEEDED', `${vm.name} did not shut down in ${String(timeoutMs)} ms`);
      }
      await sleep(250);
    }
    await this.want(vm, 'shutOff');
  }

  /** Lets the guest ignore its power button, or hear it again. */
  ignoreShutdown(vm: VmRecord, ignored: boolean): void {
    if (ignored) this.#deaf.add(vm.id);
    else this.#deaf.delete(vm.id);
  }

  async suspend(vm: VmRecord): Promise<void> {
    await this.host(vm.hostId).libvirt.suspend(vm.uuid);
  }

  async resume(vm: VmRecord): Promise<void> {
    await this.host(vm.hostId).libvirt.resume(vm.uuid);
  }

  async save(): Promise<void> {
    await this.#file.save();
  }

  /** Whether the next lab over the same state starts it. */
  async want(vm: VmRecord, wanted: VmRecord['wanted']): Promise<void> {
    vm.wanted = wanted;
    await this.#file.save();
  }

  /** Forgets a machine that is shut off; `deleteDisks` removes its files too. */
  async remove(vm: VmRecord, deleteDisks: boolean): Promise<void> {
    const host = this.host(vm.hostId);
    const { disks } = await this.facts(vm);
    this.#controls.get(vm.id)?.close();
    this.#controls.delete(vm.id);
    await host.libvirt.undefine(vm.uuid);
    const { vms } = this.#file.state;
    vms.splice(vms.indexOf(vm), 1);
    await this.#file.save();
    for (const disk of deleteDisks ? disks : []) {
      if (disk.device === 'disk' && disk.type === 'file') await rm(disk.path, { force: true });
    }
  }

  /** The line to the guest's workload, made when first asked for. */
  workload(vm: VmRecord): WorkloadControl {
    const known = this.#controls.get(vm.id);
    if (known) return known;
    const made = new WorkloadControl(this.#sockets(vm).controlSocket);
    this.#controls.set(vm.id, made);
    return made;
  }

  /** Starts what ran when the lab was last stopped. */
  async startWanted(): Promise<void> {
    for (const vm of this.all.filter((one) => one.wanted === 'running')) {
      if ((await this.powerState(vm)) === 'shutOff') await this.start(vm);
    }
  }

  /** Shuts every machine down, by force after `graceMs`; the next lab over the same state starts them again. */
  async stopAll(graceMs: number): Promise<void> {
    for (const control of this.#controls.values()) control.close();
    this.#controls.clear();
    const stops = this.all.map((vm) => this.#stopForNow(vm, graceMs));
    await Promise.allSettled(stops); // one waiting process a machine; a lab has a handful
  }

  async #stopForNow(vm: VmRecord, graceMs: number): Promise<void> {
    const { wanted } = vm;
    const state = await this.powerState(vm);
    if (state === 'shutOff') return;
    try {
      if (state !== 'running') throw new Fault('VM_STATE_REFUSED', `${vm.name} is ${state}`);
      await this.shutDown(vm, graceMs);
    } catch {
      await this.powerOff(vm);
    }
    await this.want(vm, wanted);
  }
}

/** The same content for a disk of the same name each time, so that what it compresses to does not hang on chance. */
const seedOf = (vm: string, disk: number): number =>
  (createHash('sha256')
    .update(`${vm}/${String(disk)}`)
    .digest()
    .readUInt32LE() >>>
    1) |
  1;

/** A pool's folder, owned by the host's user. */
export async function makePoolFolder(path: string, host: LabHost): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await mkdir(path, { recursive: true });
  if (host.user) await chown(path, host.user.uid, host.user.gid);
}
