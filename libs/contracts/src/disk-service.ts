import { z } from 'zod';
import { bytesSchema, instantSchema } from './define.js';
import { openingIdSchema, runItemIdSchema, transferIdSchema } from './ids.js';
import { reasonCodeSchema } from './reason.js';

/**
 * The disk service's HTTP control API (default port 8192), which takes the place of cvd-ds on every CVK:
 *
 *   GET    /v1/health                 -> healthSchema (no token needed)
 *   PUT    /v1/openings/{openingId}   openRequestSchema -> openingSchema (201 new, 200 the same opening again)
 *   GET    /v1/openings               -> { items: opening[] }
 *   GET    /v1/openings/{openingId}   -> openingSchema, 404
 *   POST   /v1/openings/{openingId}/renewals   { leaseSeconds } -> openingSchema
 *   DELETE /v1/openings/{openingId}?keepCheckpoint=true|false -> 204, also when it is gone
 *   GET    /v1/vms/{uuid}/checkpoints          -> { items: checkpoint[] }, those of this product only
 *   DELETE /v1/vms/{uuid}/checkpoints/{name}   -> 204, also when it is gone; only names of this product (`checkpointName`)
 *   PUT    /v1/ended-items/{itemId}            -> endedItemSchema: from now on no volume is opened for the item
 *   GET    /v1/ended-items/{itemId}            -> endedItemSchema
 *
 * Bearer token (or mTLS). Errors are problem+json with `code` from the fault codes. Every opening is a lease: not renewed
 * in time, it is closed and everything it made on the host (backup job, scratch files, exports, its checkpoint) is removed.
 */
export const leaseSecondsSchema = z.number().int().min(5).max(3600);

/** Checkpoints and bitmaps of this product bear this name and no other; the point is the one captured at their instant. */
export const checkpointName = (pointId: string): string => `casvault-${pointId.toLowerCase()}`;
export const checkpointNameSchema = z
  .string()
  .regex(/^casvault-[0-9a-f-]{36}$/, "'casvault-' and a point's id");

export const captureDiskRequestSchema = z.object({
  /** Device name in the guest, the key of a disk inside its VM: `vda`. */
  target: z
    .string()
    .regex(/^[a-z]{2,4}[0-9]*$/)
    .max(16),
  /** Path or block device on the host; must be what the VM has attached there. */
  path: z.string().startsWith('/'),
  /** With it, the export also carries the dirty bitmap since that checkpoint, if it can be trusted. */
  incrementalFrom: z.string().max(128).optional(),
  /** R6, R8 and the like: no bitmap is begun on this disk though a checkpoint is made. */
  untracked: z.boolean().optional(),
});

/** Told, with the opening's id, to whoever finds the opening in the way (`holderInTheWay`). */
const holderSchema = transferIdSchema.optional();

/** What the details of a DISK_SERVICE_REFUSED hold when an opening of this service has what is asked for. */
export const holderInTheWay = z.object({ openingId: openingIdSchema, transferId: transferIdSchema });

export const openRequestSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('capture'),
    transferId: holderSchema,
    vm: z.object({ uuid: z.guid(), name: z.string().min(1) }),
    disks: z.array(captureDiskRequestSchema).min(1).max(64),
    /** Name of the checkpoint to make at the captured instant; absent, and for snapshots: none is made. */
    checkpoint: z
      .string()
      .regex(/^[A-Za-z0-9_.-]{1,128}$/)
      .optional(),
    /** Checkpoints that the new one takes the place of: removed when the opening is closed with `keepCheckpoint`. */
    supersedes: z.array(checkpointNameSchema).max(64).optional(),
    /** D3: the guest's file systems are frozen for the instant, at most so long; a guest without an agent is captured as it is. */
    quiesceSeconds: z.number().int().min(1).max(60).optional(),
    /**
     * The instant is that of a snapshot which the platform made: `internal` of that name inside the images, `external` where
     * each `path` is the layer that the snapshot froze. Absent: the disks as they are (live export, or offline).
     */
    snapshot: z
      .object({ kind: z.enum(['internal', 'external']), name: z.string().min(1).max(64) })
      .optional(),
    leaseSeconds: leaseSecondsSchema,
  }),
  z.object({
    kind: z.literal('volume'),
    transferId: holderSchema,
    /** For whom it is written: refused with ITEM_ENDED once the service was told that the item has ended. */
    itemId: runItemIdSchema.optional(),
    path: z.string().startsWith('/'),
    format: z.enum(['qcow2', 'raw']),
    /** Must equal the volume's virtual size, unless `resize` is asked. */
    sizeBytes: bytesSchema,
    /**
     * Gives the volume exactly `sizeBytes` first. Only over less than 1 MiB: platforms make volumes in whole MiB, a point's
     * disk may end within one. A block device keeps its size and must not be smaller; the export's size is the truth.
     */
    resize: z.boolean().optional(),
    /** With it, the export also carries the bitmap of that name out of the file, if it can be trusted (roll-back). */
    incrementalFrom: z.string().max(128).optional(),
    leaseSeconds: leaseSecondsSchema,
  }),
]);
export type OpenRequest = z.infer<typeof openRequestSchema>;
export type CaptureRequest = Extract<OpenRequest, { kind: 'capture' }>;
export type VolumeRequest = Extract<OpenRequest, { kind: 'volume' }>;

/** How the instant of a point was fixed (D4). */
export const captureMethodSchema = z.enum(['live', 'offline', 'internal-snapshot', 'external-snapshot']);
export type CaptureMethod = z.infer<typeof captureMethodSchema>;

/** One NBD export. `host` is the address that the control request came to, unless the service is told another. */
export const diskExportSchema = z.object({
  /** `vda` for a disk of a capture, `volume` for a volume. */
  target: z.string(),
  host: z.string(),
  port: z.number().int().min(1).max(65535),
  exportName: z.string(),
  tls: z.boolean(),
  sizeBytes: bytesSchema,
  format: z.enum(['qcow2', 'raw']),
  writable: z.boolean(),
  /** Meta context of the dirty bitmap (`qemu:dirty-bitmap:...`) when `incrementalFrom` was asked and could be had. */
  bitmapContext: z.string().nullable(),
  /** Why `incrementalFrom` was asked and could not be had. */
  bitmapReason: reasonCodeSchema.nullable().default(null),
  /** Proof of the bitmap's beginning: the opening that made its checkpoint, as the host keeps it. */
  bitmapMadeBy: openingIdSchema.nullable().default(null),
  /** The new checkpoint covers this disk. */
  checkpointed: z.boolean().default(false),
  /** Identity of the image and of the run of QEMU that counts; the same while both are. */
  generation: z.string().max(255).default(''),
});
export type DiskExport = z.infer<typeof diskExportSchema>;

export const openingSchema = z.object({
  openingId: openingIdSchema,
  kind: z.enum(['capture', 'volume']),
  /**
   * How the instant was fixed: live (libvirt pull-mode backup), offline (the VM is shut off and is kept from nothing else), or
   * by a snapshot that the platform made. `write`: a volume.
   */
  method: z.enum([...captureMethodSchema.options, 'write']),
  /** How whole the guest's file systems are at the instant (D3): frozen by its agent, or as after a power cut. */
  consistency: z.enum(['file-system', 'crash']).default('crash'),
  /** What the host decided on the way (no agent, freeze refused). */
  reasons: z.array(reasonCodeSchema).default([]),
  /** The captured instant by the host's clock (capture) or the time of opening (volume). */
  openedAt: instantSchema,
  leaseUntil: instantSchema,
  checkpoint: z.string().nullable(),
  disks: z.array(diskExportSchema),
});
export type Opening = z.infer<typeof openingSchema>;

export const checkpointSchema = z.object({
  name: checkpointNameSchema,
  /** Null when what libvirt keeps does not tell. */
  madeBy: openingIdSchema.nullable(),
  createdAt: instantSchema,
  targets: z.array(z.string()),
});
export type Checkpoint = z.infer<typeof checkpointSchema>;

/**
 * A run item that is over: what it wrote belongs to somebody else, or is gone. Hosts remember it, so that a control plane which was set
 * back to an older copy of its databases writes nothing a second time. `endedAt` is null for one of which no end was told.
 */
export const endedItemSchema = z.object({ itemId: runItemIdSchema, endedAt: instantSchema.nullable() });
export type EndedItem = z.infer<typeof endedItemSchema>;

export const healthSchema = z.object({
  service: z.literal('casvault-disk-service'),
  version: z.string(),
  libvirtVersion: z.string(),
  qemuVersion: z.string(),
  openings: z.number().int(),
  /** Running VMs can be captured by themselves: libvirt 7.6 and QEMU 6.1 or newer, and it is not switched off. */
  liveExport: z.boolean().default(true),
});
export type DiskServiceHealth = z.infer<typeof healthSchema>;
