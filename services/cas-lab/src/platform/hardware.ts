import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '@casvault/contracts';
import { escapeXml } from '@casvault/libvirt';
import { imageInfo } from '../host/disk-images.js';
import { diskXml, type DomainDiskSpec } from '../host/domain-xml.js';
import { runCommand } from '../process/run-command.js';
import { type Machines } from './machines.js';
import { type VmRecord } from './state.js';

/** Names of devices that a machine has or will have. */
export async function takenTargets(machines: Machines, vm: VmRecord): Promise<string[]> {
  const { facts, pending } = await machines.look(vm);
  return [...facts.disks, ...pending].map((disk) => disk.target);
}

/** Plugs a disk in; on a bus without hot plug (R10) a running machine gets it at its next boot. */
export async function plugDisk(machines: Machines, vm: VmRecord, disk: DomainDiskSpec): Promise<void> {
  const isOff = (await machines.powerState(vm)) === 'shutOff';
  const place = isOff || disk.bus !== 'virtio' ? 'config' : 'both';
  await machines.host(vm.hostId).libvirt.attachDevice(vm.uuid, diskXml(disk), place);
}

/** Gives a disk another size, while the machine runs too. */
export async function resizeDisk(
  machines: Machines,
  vm: VmRecord,
  target: string,
  sizeBytes: number,
): Promise<void> {
  const host = machines.host(vm.hostId);
  const disk = (await machines.facts(vm)).disks.find((one) => one.target === target);
  if (disk === undefined) throw new Fault('NOT_FOUND', `${vm.name} has no disk ${target}`);
  if ((await machines.powerState(vm)) === 'shutOff') {
    const shrink = sizeBytes < (await imageInfo(disk.path)).sizeBytes ? ['--shrink'] : [];
    const args = ['resize', '-q', '-f', disk.format, ...shrink, disk.path, String(sizeBytes)];
    await runCommand('qemu-img', args, { user: host.user });
  } else await host.libvirt.run(['blockresize', vm.uuid, target, '--size', `${String(sizeBytes)}B`]);
}

/** Ends a machine's QEMU by SIGKILL, as a crash of the host would: no flush, no closing of images. */
export async function killMachine(machines: Machines, vm: VmRecord): Promise<void> {
  const host = machines.host(vm.hostId);
  const pidFile = join(host.folders.run, 'libvirt/qemu/run', `${vm.name}.pid`);
  const pid = Number(await readFile(pidFile, 'utf8').catch(() => ''));
  const line = await readFile(`/proc/${String(pid)}/cmdline`, 'utf8').catch(() => '');
  if (!line.includes(`guest=${vm.name},`)) throw new Fault('CONFLICT', `${vm.name} does not run`);
  process.kill(pid, 'SIGKILL');
  for (let waited = 0; (await machines.powerState(vm)) !== 'shutOff'; waited += 100) {
    if (waited > 20_000) throw new Fault('DEADLINE_EXCEEDED', `libvirt does not notice that ${vm.name} died`);
    await sleep(100);
  }
  await machines.want(vm, 'shutOff');
}

/** The stored description of a machine that is shut off, with one disk over another file. */
export async function changePath(machines: Machines, vm: VmRecord, from: string, to: string): Promise<void> {
  const { libvirt } = machines.host(vm.hostId);
  const { format } = await imageInfo(to);
  const xml = await libvirt.domainXml(vm.uuid, { inactive: true });
  const source = `<source file='${escapeXml(from)}'`;
  const changed = xml.replace(/<disk [\s\S]*?<\/disk>/g, (disk) =>
    disk.includes(source)
      ? disk
          .replace(source, `<source file='${escapeXml(to)}'`)
          .replace(/(<driver [^>]*type=')[^']*'/, `$1${format}'`)
          .replace(/<backingStore[\s\S]*<\/backingStore>/, '')
      : disk,
  );
  await libvirt.define(changed);
}
