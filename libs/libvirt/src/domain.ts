import { Fault } from '@casvault/contracts';
import { attribute, child, children, parseXml, text, type XmlNode } from './xml.js';

/** virDomainState, by its number in `domstats` (libvirt-domain.h). */
const states = [
  'no-state',
  'running',
  'blocked',
  'paused',
  'shutting-down',
  'shut-off',
  'crashed',
  'suspended',
] as const;
export type DomainState = (typeof states)[number];

export interface DomainSummary {
  readonly uuid: string;
  readonly name: string;
  readonly state: DomainState;
}

export interface DomainDisk {
  /** `vda` */
  readonly target: string;
  /** File, block device or network name; null for an empty drive. */
  readonly path: string | null;
  /** Image format of the active layer as libvirt was told: `qcow2`, `raw`, ... */
  readonly format: string;
  readonly bus: string;
  readonly device: 'disk' | 'cdrom' | 'floppy' | 'lun';
  readonly fileType: 'file' | 'block' | 'network' | 'volume' | 'dir' | 'other';
  readonly readOnly: boolean;
  readonly shareable: boolean;
  /** LUKS or qcow encryption is declared on the source. */
  readonly encrypted: boolean;
}

export interface Domain extends DomainSummary {
  readonly disks: readonly DomainDisk[];
}

const devices = ['disk', 'cdrom', 'floppy', 'lun'] as const;
const fileTypes = ['file', 'block', 'network', 'volume', 'dir'] as const;
const oneOf = <T extends string>(list: readonly T[], value: string | undefined): T | undefined =>
  list.find((item) => item === value);

const sourcePath = (source: XmlNode | undefined): string | null =>
  attribute(source, 'file') ??
  attribute(source, 'dev') ??
  attribute(source, 'dir') ??
  attribute(source, 'name') ??
  attribute(source, 'volume') ??
  null;

function parseDisk(disk: XmlNode): DomainDisk {
  const source = child(disk, 'source');
  return {
    target: attribute(child(disk, 'target'), 'dev') ?? '',
    path: sourcePath(source),
    // libvirt's own default when <driver> is silent.
    format: attribute(child(disk, 'driver'), 'type') ?? 'raw',
    bus: attribute(child(disk, 'target'), 'bus') ?? '',
    device: oneOf(devices, attribute(disk, 'device')) ?? 'disk',
    fileType: oneOf(fileTypes, attribute(disk, 'type')) ?? 'other',
    readOnly: child(disk, 'readonly') !== undefined,
    shareable: child(disk, 'shareable') !== undefined,
    encrypted: [disk, source].some((node) => node !== undefined && child(node, 'encryption') !== undefined),
  };
}

/** A `<domain>` document with the state that `domstats` told. Throws LIBVIRT_FAILED when it is not one. */
export function parseDomain(xml: string, state: DomainState): Domain {
  const root = parseXml(xml, 'domain');
  const uuid = text(root, 'uuid');
  const name = text(root, 'name');
  if (uuid === undefined || name === undefined) {
    throw new Fault('LIBVIRT_FAILED', 'libvirt printed a domain without name or UUID');
  }
  const device = child(root, 'devices');
  return { uuid, name, state, disks: device ? children(device, 'disk').map(parseDisk) : [] };
}

/** `domstats --raw --state` as state by domain name. */
export function parseDomainStates(output: string): Map<string, DomainState> {
  const found = new Map<string, DomainState>();
  let name: string | undefined;
  for (const line of output.split('\n')) {
    name = /^Domain: '(.*)'$/.exec(line)?.[1] ?? name;
    const number = /^\s*state\.state=(\d+)$/.exec(line)?.[1];
    if (name !== undefined && number !== undefined) found.set(name, states[Number(number)] ?? 'no-state');
  }
  return found;
}

/** `list --all --uuid --name` as name by UUID. */
export function parseDomainNames(output: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of output.split('\n')) {
    const [, uuid, name] = /^\s*([0-9a-f]{8}-[0-9a-f-]{27})\s+(.*?)\s*$/.exec(line) ?? [];
    if (uuid !== undefined && name !== undefined) found.set(uuid, name);
  }
  return found;
}
