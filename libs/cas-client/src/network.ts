import { z } from 'zod';
import { flag, numberOr, text } from './wire.js';

const modes: Record<string, string> = { '0': 'veb', '1': 'vepa', '2': 'multi-channel' };

/** A virtual switch of a host (`GET /host/id/{id}/vswitch`). */
export const virtualSwitchSchema = z
  .object({
    id: text.pipe(z.string().min(1)),
    name: text,
    mode: text,
    address: text,
    isManage: flag,
    networkType: text,
  })
  .transform((item) => ({
    externalId: item.id,
    name: item.name,
    mode: modes[item.mode] ?? item.mode,
    // Older releases have no network type; the switch that carries the management address is known all the same.
    networkType: item.networkType === '' ? (item.isManage ? 'management' : 'service') : item.networkType,
    address: item.address === '' ? null : item.address,
  }));
export type CasVirtualSwitch = z.output<typeof virtualSwitchSchema>;

/** A network policy template (网络策略模板, `GET /profile`). */
export const networkProfileSchema = z
  .object({
    id: text.pipe(z.string().min(1)),
    name: text,
    description: text,
    vlanId: numberOr(0),
  })
  .transform((item) => ({ externalId: item.id, name: item.name, description: item.description }));
export type CasNetworkProfile = z.output<typeof networkProfileSchema>;
