import { escapeXml } from '@casvault/libvirt';
import { type GuestImage } from '../guest/prepare-guest.js';

export const diskBuses = ['virtio', 'scsi', 'ide'] as const;
export type DiskBus = (typeof diskBuses)[number];
export const cacheTypes = ['directsync', 'writeback', 'writethrough', 'none'] as const;
export type CacheType = (typeof cacheTypes)[number];

export interface DomainDiskSpec {
  /** `vda` */
  readonly target: string;
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
  readonly bus: DiskBus;
  readonly cache: CacheType;
  /** LUKS, with libvirt's secret of that UUID. */
  readonly encryption?: { readonly secretUuid: string };
}

export interface DomainNicSpec {
  readonly mac: string;
  readonly model: string;
}

export interface DomainSpec {
  readonly name: string;
  readonly uuid: string;
  readonly memoryMiB: number;
  readonly cpuCount: number;
  /** Default 1. */
  readonly coresPerSocket?: number;
  readonly disks: readonly DomainDiskSpec[];
  readonly nics: readonly DomainNicSpec[];
  /** What it boots, disks or not: the lab's guests have no boot loader on theirs. */
  readonly guest: GuestImage;
  /** Unix sockets of the two serial ports: the guest's shell, and its workload's control. */
  readonly consoleSocket: string;
  readonly controlSocket: string;
  readonly consoleLog: string;
}

export const diskXml = (disk: DomainDiskSpec): string =>
  `<disk type='file' device='disk'>` +
  `<driver name='qemu' type='${disk.format}' cache='${disk.cache}' discard='unmap'/>` +
  `<source file='${escapeXml(disk.path)}'>${encryptionXml(disk)}</source>` +
  `<target dev='${disk.target}' bus='${disk.bus}'/></disk>`;

const encryptionXml = ({ encryption }: DomainDiskSpec): string =>
  encryption === undefined
    ? ''
    : `<encryption format='luks'><secret type='passphrase' uuid='${encryption.secretUuid}'/></encryption>`;

/** `user` networks reach nothing of the host by themselves; they stand in for a port of a virtual switch. */
export const nicXml = (nic: DomainNicSpec): string =>
  `<interface type='user'><mac address='${nic.mac}'/><model type='${escapeXml(nic.model)}'/></interface>`;

const serialXml = (port: number, socket: string, log?: string): string =>
  `<serial type='unix'><source mode='bind' path='${escapeXml(socket)}'/>` +
  (log === undefined ? '' : `<log file='${escapeXml(log)}' append='off'/>`) +
  `<target port='${String(port)}'/></serial>`;

/** Without one libvirt makes every processor a socket, and their number can be changed. */
const topologyXml = ({ cpuCount, coresPerSocket: cores = 1 }: DomainSpec): string =>
  cores === 1 ? '' : `<topology sockets='${String(cpuCount / cores)}' cores='${String(cores)}' threads='1'/>`;

/** A domain of the lab for libvirt: emulated in software (TCG), so that it runs on any machine. */
export function domainXml(spec: DomainSpec): string {
  const kernel =
    `<kernel>${escapeXml(spec.guest.kernel)}</kernel>` +
    (spec.guest.initrd === null
      ? ''
      : `<initrd>${escapeXml(spec.guest.initrd)}</initrd><cmdline>console=ttyS0 quiet panic=-1 rdinit=/init</cmdline>`);
  return [
    `<domain type='qemu'><name>${escapeXml(spec.name)}</name><uuid>${spec.uuid}</uuid>`,
    `<memory unit='MiB'>${String(spec.memoryMiB)}</memory><vcpu>${String(spec.cpuCount)}</vcpu>`,
    `<os><type arch='x86_64' machine='pc'>hvm</type>${kernel}</os>`,
    `<features><acpi/></features><cpu mode='maximum'>${topologyXml(spec)}</cpu>`,
    `<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>`,
    `<devices>`,
    ...spec.disks.map(diskXml),
    `<controller type='scsi' model='virtio-scsi'/><controller type='usb' model='none'/>`,
    ...spec.nics.map(nicXml),
    serialXml(0, spec.consoleSocket, spec.consoleLog),
    serialXml(1, spec.controlSocket),
    `<memballoon model='none'/>`,
    `<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>`,
    `</devices></domain>`,
  ].join('');
}
