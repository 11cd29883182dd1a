import { XMLParser } from 'fast-xml-parser';
import { z } from 'zod';

/** What the CVM shows of a machine and libvirt's description holds. */
export interface DomainFacts {
  readonly memoryMiB: number;
  readonly cpuCount: number;
  readonly coresPerSocket: number;
  readonly disks: readonly DiskFacts[];
  readonly nics: readonly NicFacts[];
}
export interface DiskFacts {
  readonly target: string;
  readonly bus: string;
  readonly path: string;
  readonly format: string;
  readonly cache: string;
  readonly device: string;
  /** `file` or `block`. */
  readonly type: string;
  readonly encrypted: boolean;
}
export interface NicFacts {
  readonly mac: string;
  readonly model: string;
}

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: '@',
  parseTagValue: false,
  isArray: (name) => name === 'disk' || name === 'interface',
});

const diskSchema = z.object({
  '@type': z.string().default('file'),
  '@device': z.string().default('disk'),
  driver: z.object({ '@type': z.string().default('raw'), '@cache': z.string().default('writeback') }),
  source: z
    .object({
      '@file': z.string().optional(),
      '@dev': z.string().optional(),
      encryption: z.unknown().optional(),
    })
    .optional(),
  target: z.object({ '@dev': z.string(), '@bus': z.string() }),
});
const interfaceSchema = z.object({
  mac: z.object({ '@address': z.string() }),
  model: z.object({ '@type': z.string() }).optional(),
});
const documentSchema = z.object({
  domain: z.object({
    memory: z.object({ '#text': z.string(), '@unit': z.string().default('KiB') }),
    vcpu: z.union([z.string(), z.object({ '#text': z.string() })]),
    cpu: z.object({ topology: z.object({ '@cores': z.string() }).optional() }).optional(),
    devices: z.object({
      disk: z.array(diskSchema).default([]),
      interface: z.array(interfaceSchema).default([]),
    }),
  }),
});

/** libvirt writes memory in KiB. */
export function domainFacts(xml: string): DomainFacts {
  const { domain } = documentSchema.parse(parser.parse(xml));
  const vcpu = typeof domain.vcpu === 'string' ? domain.vcpu : domain.vcpu['#text'];
  return {
    memoryMiB: Math.round(Number(domain.memory['#text']) / 1024),
    cpuCount: Number(vcpu),
    coresPerSocket: Number(domain.cpu?.topology?.['@cores'] ?? 1),
    disks: domain.devices.disk.map((disk) => ({
      target: disk.target['@dev'],
      bus: disk.target['@bus'],
      path: disk.source?.['@file'] ?? disk.source?.['@dev'] ?? '',
      format: disk.driver['@type'],
      cache: disk.driver['@cache'],
      device: disk['@device'],
      type: disk['@type'],
      encrypted: disk.source?.encryption !== undefined,
    })),
    nics: domain.devices.interface.map((nic) => ({
      mac: nic.mac['@address'],
      model: nic.model?.['@type'] ?? 'virtio',
    })),
  };
}
