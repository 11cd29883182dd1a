import { z } from 'zod';
import { cacheTypes, diskBuses } from '../host/domain-xml.js';
import { guestKinds } from '../guest/prepare-guest.js';
import { imageFormats } from '../host/disk-images.js';

export const workloadRatesSchema = z.object({
  pairsPerSecond: z.number().int().min(1).max(5000).default(50),
  bulkKiBPerSecond: z.number().int().min(0).max(262_144).default(1024),
});

/** A machine that the lab is asked to make, with disks and what is on them. */
export const vmPlanSchema = z.object({
  name: z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/, 'letters, digits, -, _ and ., at most 64'),
  title: z.string().optional(),
  /** CVM's id of the host. */
  host: z.number().int().min(1).default(1),
  memoryMiB: z.number().int().min(96).default(160),
  cpuCount: z.number().int().min(1).max(8).default(1),
  disks: z
    .array(
      z.object({
        sizeBytes: z.number().int().min(512).multipleOf(512, 'a multiple of 512, as QEMU needs'),
        format: z.enum(imageFormats).default('qcow2'),
        bus: z.enum(diskBuses).default('virtio'),
        cache: z.enum(cacheTypes).default('writeback'),
        pool: z.string().default('defaultpool'),
        /** Bytes of content written at creation, spread over the disk. */
        dataBytes: z.number().int().min(0).default(0),
        seed: z.number().int().min(1).optional(),
        mode: z.enum(['dependent', 'independent-persistent']).default('dependent'),
        /** A qcow2 image encrypted with LUKS (R2), without content. */
        encrypted: z.boolean().default(false),
      }),
    )
    .min(1)
    .max(8),
  nics: z.number().int().min(0).max(4).default(1),
  running: z.boolean().default(true),
  guest: z.enum(guestKinds).default('linux'),
  /** Absent or null: the guest writes nothing. */
  workload: workloadRatesSchema.nullable().default(null),
});
export type VmPlan = z.infer<typeof vmPlanSchema>;
