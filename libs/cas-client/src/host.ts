import { z } from 'zod';
import { type Architecture } from './compatibility.js';
import { numberOr, rows, text } from './wire.js';

/** A row of `GET /host`. */
export const hostRowSchema = z.object({ id: text.pipe(z.string().min(1)), ip: text, name: text });
export type CasHostRow = z.infer<typeof hostRowSchema>;

const armProcessor = /kunpeng|phytium|hisilicon|cortex|neoverse|ft-?[12]\d{3}|aarch64|arm64|armv8|鲲鹏|飞腾/i;

/**
 * `GET /host/id/{id}`. The reply has no field for the architecture in public material: a field of that name is taken
 * where there is one, else it follows from the processor's name.
 */
export const hostDetailSchema = z
  .object({
    id: text,
    name: text,
    ip: text,
    status: numberOr(1),
    cpuCount: numberOr(0),
    cpuModel: text,
    vendor: text,
    memorySize: numberOr(0),
    vmNum: numberOr(0),
    architecture: text,
    pNIC: rows(z.unknown()),
  })
  .transform((host) => ({
    externalId: host.id,
    name: host.name === '' ? host.ip : host.name,
    ip: host.ip,
    status: host.status === 1 ? ('normal' as const) : ('abnormal' as const),
    cpuCount: Math.round(host.cpuCount),
    memoryMiB: Math.round(host.memorySize),
    vmCount: host.vmNum,
    architecture: architectureOf(host),
  }));
export type CasHost = z.output<typeof hostDetailSchema>;

const architectureOf = (host: { architecture: string; cpuModel: string; vendor: string }): Architecture =>
  armProcessor.test(`${host.architecture} ${host.cpuModel} ${host.vendor}`) ? 'aarch64' : 'x86_64';
