import {
  captureMethodSchema,
  openingIdSchema,
  openRequestSchema,
  reasonCodeSchema,
  type FaultDetails,
  type Opening,
  type OpenRequest,
  type RunItemId,
} from '@casvault/contracts';
import { z } from 'zod';

/**
 * What the service knows of one opening, written to disk before anything is made on the host. Every name made there
 * follows from the opening's id and target (`host/names.ts`), so a record is all that a clean-up needs, whenever the
 * service was killed.
 *
 *   opening -> open -> closing -> (gone)          the caller closed it
 *                   -> closing -> lost -> (gone)  its lease ran out, or the host ended it: GET answers 410 for a while
 *   opening -> closing -> closed -> (gone)        interrupted; watched for what still arrives from a killed step
 */
const diskRecordSchema = z.object({
  target: z.string(),
  path: z.string(),
  format: z.enum(['qcow2', 'raw']),
  sizeBytes: z.number().int().min(0),
  /** 0 until one is taken. */
  port: z.number().int(),
  /** Checkpoint since which the export's bitmap counts; null: no bitmap. */
  bitmapSince: z.string().nullable(),
  /** Why none, where one was asked for. */
  bitmapReason: reasonCodeSchema.nullable(),
  /** The opening that made that checkpoint. */
  bitmapMadeBy: openingIdSchema.nullable(),
  /** The checkpoint covers this disk. */
  isTracked: z.boolean(),
  generation: z.string(),
  /** Id of the internal snapshot that is served; null: the image as it is. */
  snapshotId: z.string().nullable(),
});
export type DiskRecord = z.infer<typeof diskRecordSchema>;

export const openingRecordSchema = z.object({
  version: z.literal(1),
  openingId: openingIdSchema,
  request: openRequestSchema,
  state: z.enum(['opening', 'open', 'closing', 'lost', 'closed']),
  method: z.enum([...captureMethodSchema.options, 'write']),
  consistency: z.enum(['file-system', 'crash']),
  reasons: z.array(reasonCodeSchema),
  /** The guest may be frozen by this opening: saved before it is, and taken back after it was thawed. */
  mayBeFrozen: z.boolean(),
  /** Address that the exports listen on. */
  address: z.string(),
  tls: z.boolean(),
  openedAt: z.iso.datetime(),
  leaseUntil: z.iso.datetime(),
  /** Checkpoint that this opening makes; null: none. */
  checkpoint: z.string().nullable(),
  keepCheckpoint: z.boolean(),
  /** Why it is `lost`, or will be when closed; null: its caller closed it, or it was interrupted while opening. */
  lostBecause: z.string().nullable(),
  /** The service was killed, or failed, in the middle of opening it. */
  interrupted: z.boolean(),
  /** `lost` and `closed` records are kept until then. */
  keepUntil: z.iso.datetime().nullable(),
  disks: z.array(diskRecordSchema),
});
export type OpeningRecord = z.infer<typeof openingRecordSchema>;

/** Says whether something may still be on the host for it. */
export const isHeld = (record: OpeningRecord): boolean =>
  record.state === 'opening' || record.state === 'open' || record.state === 'closing';

/** What a refused caller is told of it: enough to find out whether it is still wanted. */
export const holderOf = ({ openingId, request: { transferId } }: OpeningRecord): FaultDetails =>
  transferId === undefined ? { openingId } : { openingId, transferId };

export function vmOf(request: OpenRequest): { uuid: string; name: string } | null {
  return request.kind === 'capture' ? request.vm : null;
}

/** For whom it is written; null: nobody said, or nothing is written. */
export const itemOf = (request: OpenRequest): RunItemId | null =>
  request.kind === 'volume' ? (request.itemId ?? null) : null;

/** The same request: an idempotent repetition. The lease is no part of what is opened, nor is for whom (an older mover does not say). */
export function isSameRequest(a: OpenRequest, b: OpenRequest): boolean {
  const comparable = (request: OpenRequest): string =>
    JSON.stringify({ ...request, leaseSeconds: 0, itemId: undefined });
  return comparable(openRequestSchema.parse(a)) === comparable(openRequestSchema.parse(b));
}

/** libvirt's name for the bitmap of a pull-mode export, and QEMU's for one that qemu-nbd shows. */
const bitmapContext = (record: OpeningRecord, disk: DiskRecord): string | null => {
  if (disk.bitmapSince === null) return null;
  return `qemu:dirty-bitmap:${record.method === 'live' ? `backup-${disk.target}` : disk.bitmapSince}`;
};

/** The opening as its caller sees it. */
export function toOpening(record: OpeningRecord): Opening {
  return {
    openingId: record.openingId,
    kind: record.request.kind,
    method: record.method,
    consistency: record.consistency,
    reasons: record.reasons,
    openedAt: record.openedAt,
    leaseUntil: record.leaseUntil,
    checkpoint: record.checkpoint,
    disks: record.disks.map((disk) => ({
      target: disk.target,
      host: record.address,
      port: disk.port,
      exportName: disk.target,
      tls: record.tls,
      sizeBytes: disk.sizeBytes,
      format: disk.format,
      writable: record.method === 'write',
      bitmapContext: bitmapContext(record, disk),
      bitmapReason: disk.bitmapReason,
      bitmapMadeBy: disk.bitmapSince === null ? null : disk.bitmapMadeBy,
      checkpointed: record.checkpoint !== null && disk.isTracked,
      generation: disk.generation,
    })),
  };
}
