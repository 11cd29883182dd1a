import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '@casvault/contracts';
import { copyImage, type ImageFormat, imageLayers, linkImage } from '../host/disk-images.js';
import {
  type CacheType,
  cacheTypes,
  type DiskBus,
  diskBuses,
  type DomainDiskSpec,
} from '../host/domain-xml.js';
import { type DiskFacts } from './domain-facts.js';
import { type Machines } from './machines.js';
import { type VmRecord } from './state.js';

/** What a machine that is deployed from a template gets otherwise than the template. */
export interface Deployment {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly hostId: number;
  /** Folder of the storage pool that takes the disks. */
  readonly poolPath: string;
  /** Layers over the template's disks; else whole copies. */
  readonly linked: boolean;
}

/** Turns a machine that is shut off, and has no snapshots, into a template: its disks stay where they are. */
export async function convertToTemplate(
  machines: Machines,
  vm: VmRecord,
  words: { readonly name: string; readonly description: string },
): Promise<void> {
  if ((await machines.powerState(vm)) !== 'shutOff')
    throw new Fault('VM_STATE_REFUSED', `${vm.name} is not shut off`);
  if (vm.snapshots.length > 0) throw new Fault('CONFLICT', `${vm.name} has snapshots`);
  if (words.name !== vm.name)
    throw new Fault('INPUT_INVALID', `the lab keeps the machine's name: ${vm.name}, not ${words.name}`);
  vm.description = words.description;
  vm.isTemplate = true;
  await machines.save();
}

/** Makes a machine, shut off, with the template's hardware and its disks' content. What fails leaves no file. */
export async function deploy(machines: Machines, template: VmRecord, wanted: Deployment): Promise<VmRecord> {
  if (!template.isTemplate) throw new Fault('CONFLICT', `${template.name} is no template`);
  if (wanted.linked && wanted.hostId !== template.hostId)
    throw new Fault('CONFLICT', `a linked clone of ${template.name} stays on its host`);
  const facts = await machines.facts(template);
  const { user } = machines.host(wanted.hostId);
  const disks: DomainDiskSpec[] = [];
  try {
    for (const [index, disk] of facts.disks.entries()) {
      const source = { path: disk.path, format: formatOf(disk) };
      const path = join(wanted.poolPath, index === 0 ? wanted.name : `${wanted.name}-${String(index)}`);
      await (wanted.linked ? linkImage : copyImage)(source, path, user);
      disks.push(diskOf(disk, path, wanted.linked ? 'qcow2' : source.format));
    }
    const { memoryMiB, cpuCount } = facts;
    const nics = facts.nics.map(({ mac, model }) => ({
      mac: '',
      model,
      switchId: template.ports[mac]?.switchId ?? 0,
      profileId: template.ports[mac]?.profileId ?? null,
    }));
    const { osVersion, system, independent } = template;
    const { name, title, description, hostId } = wanted;
    const words = { name, title, description, hostId, osVersion, system, guest: 'linux' } as const;
    return await machines.create({ ...words, memoryMiB, cpuCount, disks, nics, independent });
  } catch (error) {
    for (const { path } of disks) await rm(path, { force: true });
    throw error;
  }
}

/** Forgets a template and removes its disks, unless machines stand on them. */
export async function removeTemplate(machines: Machines, template: VmRecord): Promise<void> {
  const own = (await machines.facts(template)).disks.map(({ path }) => path);
  for (const vm of machines.all.filter((one) => one !== template))
    for (const disk of (await machines.facts(vm)).disks)
      if ((await imageLayers(disk.path)).some((layer) => own.includes(layer)))
        throw new Fault('CONFLICT', `${vm.name} is a linked clone of ${template.name}`);
  await machines.remove(template, true);
}

const formatOf = ({ format }: DiskFacts): ImageFormat => (format === 'raw' ? 'raw' : 'qcow2');

const diskOf = (disk: DiskFacts, path: string, format: ImageFormat): DomainDiskSpec => ({
  target: disk.target,
  path,
  format,
  bus: diskBuses.find((bus): bus is DiskBus => bus === disk.bus) ?? 'virtio',
  cache: cacheTypes.find((cache): cache is CacheType => cache === disk.cache) ?? 'writeback',
});
