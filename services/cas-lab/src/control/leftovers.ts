import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { imageInfo, imageLayers } from '../host/disk-images.js';
import { type LabHost } from '../host/lab-host.js';
import { type Machines } from '../platform/machines.js';
import { toolProcesses } from '../process/tool-processes.js';

/** What a backup or a restore may have left on a host. All empty: nothing. */
export interface Leftovers {
  /** Machines with a libvirt backup job. */
  readonly jobs: string[];
  /** `machine/checkpoint` as libvirt knows them. */
  readonly checkpoints: string[];
  /** `path/bitmap` inside the images of machines that are shut off. */
  readonly bitmaps: string[];
  /** Files in the disk service's scratch folder. */
  readonly scratchFiles: string[];
  /** Ports of the host's address in the data range on which something listens. */
  readonly listeningPorts: number[];
  /** Processes of QEMU's tools (`qemu-nbd`, `qemu-storage-daemon`, `qemu-img`) over this host's files. */
  readonly processes: string[];
  /** Files of the storage pools that belong to no machine. */
  readonly looseVolumes: string[];
}

const dataPorts = { first: 10_000, last: 30_000 };

export async function findLeftovers(host: LabHost, machines: Machines): Promise<Leftovers> {
  const own = machines.all.filter((vm) => vm.hostId === host.id);
  const found = { jobs: [] as string[], checkpoints: [] as string[], bitmaps: [] as string[] };
  const used = new Set<string>();
  for (const vm of machines.all)
    for (const disk of (await machines.facts(vm)).disks)
      for (const layer of await imageLayers(disk.path)) used.add(layer);
  for (const vm of own) {
    if ((await host.libvirt.backup(vm.uuid)) !== null) found.jobs.push(vm.name);
    for (const name of await host.libvirt.checkpointNames(vm.uuid))
      found.checkpoints.push(`${vm.name}/${name}`);
    const isOff = (await machines.powerState(vm)) === 'shutOff';
    for (const disk of (await machines.facts(vm)).disks) {
      const bitmaps = isOff ? (await imageInfo(disk.path)).bitmaps : [];
      found.bitmaps.push(...bitmaps.map((bitmap) => `${disk.path}/${bitmap}`));
    }
  }
  return {
    ...found,
    scratchFiles: await filesBelow(host.folders.scratch),
    listeningPorts: await listeningPorts(host.address),
    processes: (await toolProcesses(host.folders.root)).map(({ words }) => words.join(' ').trim()),
    looseVolumes: (await filesBelow(host.folders.vms)).filter((path) => !used.has(path)),
  };
}

async function filesBelow(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
}

/** `/proc/net/tcp`: the address as a little-endian word in hexadecimal, the port, and 0A for "listening". */
async function listeningPorts(address: string): Promise<number[]> {
  const word = address
    .split('.')
    .reverse()
    .map((part) => Number(part).toString(16).padStart(2, '0'))
    .join('')
    .toUpperCase();
  const table = await readFile('/proc/net/tcp', 'utf8');
  const ports = table.split('\n').flatMap((line) => {
    const [, , local = '', , state] = line.split(/\s+/);
    const [at, port = ''] = local.split(':');
    return state === '0A' && at === word ? [Number.parseInt(port, 16)] : [];
  });
  return ports.filter((port) => port >= dataPorts.first && port <= dataPorts.last).sort((a, b) => a - b);
}
