import { constants, zstdCompressSync } from 'node:zlib';
import { bytesSchema, Fault, instantSchema } from '@casvault/contracts';
import { z } from 'zod';
import { asBuffer, ByteReader, ByteWriter, damaged, unsupported, uuidBytes } from './bytes.js';
import { type Digest } from './digest.js';
import { unzstd } from './frame.js';
import {
  FORMAT_VERSION,
  ID_BYTES,
  MAX_DISK_BYTES,
  MAX_MANIFEST_BYTES,
  SEAL_BYTES,
  type PackRef,
} from './layout.js';
import { segmentsOf } from './segment.js';
import { deriveKey, seal, unseal, type Suite } from './suite.js';

/*
 * A manifest is one point. Two parts, each zstd over UTF-8 JSON: the inventory in clear, which is all that scrub, retention and collection
 * need, and the facts, sealed when the repository is encrypted.
 *   head 48: 'CASVPONT', u16 version, u16 flags (bit 0 sealed), u32 inventory stored, u32 inventory plain, u32 facts stored,
 *            u32 facts plain, 20 reserved
 *   inventory | facts | hash 32, unkeyed, over all before
 * A void point stands where a manifest must never appear any more: 'CASVVOID', u16 version, 6 reserved, repository id 16, chain id 16,
 * point id 16, hash 32 over all before.
 */
const magic = Buffer.from('CASVPONT', 'latin1');
const voidMagic = Buffer.from('CASVVOID', 'latin1');
const HEAD_BYTES = 48;
const FLAG_SEALED = 1;

const seqSchema = z.int().min(0).max(0xffff_ffff);
const packRangesSchema = z.array(
  z.object({ writerId: z.uuid(), seqs: z.array(z.tuple([seqSchema, seqSchema])).min(1) }),
);
/** The packs of a point: for each writer, ascending inclusive ranges of sequence numbers. */
export type PackRanges = z.infer<typeof packRangesSchema>;

const inventorySchema = z.object({
  repositoryId: z.uuid(),
  chainId: z.uuid(),
  pointId: z.uuid(),
  parentPointId: z.uuid().nullable(),
  kind: z.enum(['full', 'incremental']),
  createdAt: instantSchema,
  /** Every pack that a restore of this point may read, and no other. */
  packs: packRangesSchema,
});
export type PointInventory = z.infer<typeof inventorySchema>;

const hashHexSchema = z.string().regex(/^[0-9a-f]{64}$/);
const segmentRefSchema = z.object({
  id: hashHexSchema,
  writerId: z.uuid(),
  seq: seqSchema,
  frame: z.int().min(0).max(0xffff),
  offset: bytesSchema,
  storedLength: bytesSchema,
  plainLength: bytesSchema,
  codec: z.enum(['none', 'zstd']),
});
export type SegmentRef = z.infer<typeof segmentRefSchema>;

const diskStatsSchema = z.object({
  /** What the extents called data. */
  dataBytes: bytesSchema,
  /** Read from the source in the attempt that committed. */
  readBytes: bytesSchema,
  /** Taken over from packs of earlier attempts. */
  resumedBytes: bytesSchema,
  /** Found equal to the parent's, by position. */
  sameBytes: bytesSchema,
  /** Not in the repository before. */
  newBytes: bytesSchema,
  /** The same as stored. */
  storedBytes: bytesSchema,
});
export type DiskStats = z.infer<typeof diskStatsSchema>;

const bitmapLineageSchema = z.object({
  diskId: z.uuid(),
  /** The checkpoint begun at this point's instant: its bitmap tells what changed since. */
  checkpointName: z.string().min(1).max(255),
  parentPointId: z.uuid().nullable(),
  /** Hash at the end of the parent's manifest: the lineage is of these bytes and no others. */
  parentManifestHash: hashHexSchema.nullable(),
  /** The opening that made the checkpoint, as the host keeps it: a checkpoint of another one is another instant's. */
  openingId: z.uuid().nullable().default(null),
  /** Identity of the image and the run of QEMU that keeps the bitmap, as the disk service reports it. */
  generation: z.string().max(255),
});
export type BitmapLineage = z.infer<typeof bitmapLineageSchema>;

const pointDiskSchema = z
  .object({
    diskId: z.uuid(),
    target: z.string().min(1).max(255),
    role: z.enum(['system', 'data']),
    bus: z.string().max(64),
    format: z.enum(['qcow2', 'raw']),
    sizeBytes: bytesSchema.max(MAX_DISK_BYTES),
    root: hashHexSchema,
    /** Blocks that are not zero. */
    usedBlocks: bytesSchema,
    /** One for each 128 GiB; null where all is zero. */
    segments: z.array(segmentRefSchema.nullable()),
    stats: diskStatsSchema,
    lineage: bitmapLineageSchema.nullable(),
    /** Codes of why the disk was read as it was. */
    reasons: z.array(z.string().max(64)).default([]),
    /** Only what a bitmap names was read, besides samples. */
    tracked: z.boolean().default(false),
  })
  .refine((disk) => disk.segments.length === segmentsOf(disk.sizeBytes), 'one segment for every 128 GiB');
export type PointDisk = z.infer<typeof pointDiskSchema>;

/** Taken as it is: put together anew it would lose a field named `__proto__`. */
const isObject = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const factsSchema = z.object({
  capturedAt: instantSchema,
  method: z.enum(['live', 'offline', 'internal-snapshot', 'external-snapshot']),
  /** How whole the guest's file systems are: frozen for the instant, or as after a power cut. */
  consistency: z.enum(['file-system', 'crash']).default('crash'),
  vm: z.object({
    vmId: z.uuid(),
    uuid: z.guid(),
    name: z.string(),
    platformName: z.string(),
    platformVersion: z.string(),
  }),
  /** The platform's configuration of the VM, whole. */
  configuration: z.custom<Record<string, unknown>>(isObject, 'must be an object'),
  disks: z.array(pointDiskSchema).max(65_535),
  excludedDisks: z.array(z.object({ target: z.string(), reason: z.string() })),
  tools: z.record(z.string(), z.string()),
  /** Bytes of the packs that came into the repository with this point. */
  packBytes: bytesSchema.default(0),
  /** Of a copy: the point that it was made of, wherever that was. */
  copyOf: z.object({ repositoryId: z.uuid(), chainId: z.uuid(), pointId: z.uuid() }).optional(),
});
export type PointFacts = z.infer<typeof factsSchema>;

export interface Manifest {
  readonly inventory: PointInventory;
  readonly facts: PointFacts;
}

const pack = (value: unknown): { plain: number; bytes: Buffer } => {
  const plain = Buffer.from(JSON.stringify(value), 'utf8');
  const bytes = zstdCompressSync(plain, { params: { [constants.ZSTD_c_compressionLevel]: 3 } });
  return { plain: plain.length, bytes };
};

/** Decoded again before it is handed out. INPUT_INVALID when a field breaks its rule. */
export function encodeManifest(manifest: Manifest, suite: Suite): Buffer {
  const inventory = pack(checkInput(inventorySchema, manifest.inventory));
  const facts = pack(checkInput(factsSchema, manifest.facts));
  const sealed = suite.keys !== null;
  const factsStored = facts.bytes.length + (sealed ? SEAL_BYTES : 0);
  const out = new ByteWriter(HEAD_BYTES + inventory.bytes.length + factsStored + ID_BYTES);
  out
    .bytes(magic)
    .u16(FORMAT_VERSION)
    .u16(sealed ? FLAG_SEALED : 0);
  out.u32(inventory.bytes.length).u32(inventory.plain).u32(factsStored).u32(facts.plain).reserved(20);
  out.bytes(inventory.bytes);
  const aad = Buffer.from(out.written());
  out.bytes(
    suite.keys === null ? facts.bytes : seal(manifestKey(suite, manifest.inventory)!, aad, facts.bytes),
  );
  const bytes = out.bytes(suite.checksum(out.written())).done();
  if (bytes.length > MAX_MANIFEST_BYTES)
    throw new Fault('INPUT_INVALID', `a manifest of ${bytes.length} bytes`);
  decodeManifest(bytes, suite, 'manifest being written');
  return bytes;
}

function checkInput<T extends z.ZodType>(schema: T, value: unknown): z.infer<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new Fault('INPUT_INVALID', `manifest: ${issue.path.join('.')}: ${issue.message}`);
}

function manifestKey(suite: Suite, point: { chainId: string; pointId: string }): Buffer | null {
  if (suite.keys === null) return null;
  const info = Buffer.concat([
    Buffer.from('point', 'latin1'),
    uuidBytes(point.chainId),
    uuidBytes(point.pointId),
  ]);
  return deriveKey(suite.keys.manifests, Buffer.alloc(0), info);
}

/** The hash that a manifest ends with, as bitmap lineage names it. The manifest must have been decoded. */
export function manifestHash(bytes: Uint8Array): string {
  return asBuffer(bytes)
    .subarray(bytes.length - ID_BYTES)
    .toString('hex');
}

function openManifest(bytes: Uint8Array, checksum: Digest, object: string) {
  const all = asBuffer(bytes);
  const reader = new ByteReader(all, object);
  if (!reader.bytes(8).equals(magic)) throw damaged(object, 'does not begin as a manifest');
  const version = reader.u16();
  if (version !== FORMAT_VERSION) throw unsupported(object, `manifest version ${version}`);
  const bodyEnd = all.length - ID_BYTES;
  if (bodyEnd < HEAD_BYTES || !checksum(all.subarray(0, bodyEnd)).equals(all.subarray(bodyEnd))) {
    throw damaged(object, 'does not have the hash that it ends with');
  }
  const flags = reader.u16();
  if ((flags & ~FLAG_SEALED) !== 0) throw unsupported(object, `manifest flags ${flags}`);
  const lengths = {
    inventory: reader.u32(),
    inventoryPlain: reader.u32(),
    facts: reader.u32(),
    factsPlain: reader.u32(),
  };
  reader.reserved(20);
  if (lengths.inventoryPlain > MAX_MANIFEST_BYTES || lengths.factsPlain > MAX_MANIFEST_BYTES) {
    throw damaged(object, 'parts longer than any manifest');
  }
  const inventoryBytes = reader.bytes(lengths.inventory);
  const aad = all.subarray(0, HEAD_BYTES + lengths.inventory);
  const facts = reader.bytes(lengths.facts);
  reader.bytes(ID_BYTES);
  reader.end();
  const inventory = parsePart(inventorySchema, inventoryBytes, lengths.inventoryPlain, object);
  return { inventory, aad, facts, factsPlain: lengths.factsPlain, sealed: flags === FLAG_SEALED };
}

function parsePart<T extends z.ZodType>(schema: T, bytes: Buffer, plain: number, object: string): z.infer<T> {
  let value: unknown;
  try {
    value = JSON.parse(unzstd(bytes, plain, 'a part', object).toString('utf8'));
  } catch (cause) {
    throw Fault.is(cause) ? cause : damaged(object, 'a part is not JSON', cause);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw damaged(object, `${issue.path.join('.')}: ${issue.message}`);
}

/** The part that needs no key: which packs the point needs. */
export function decodeInventory(bytes: Uint8Array, checksum: Digest, object: string): PointInventory {
  return openManifest(bytes, checksum, object).inventory;
}

export function decodeManifest(bytes: Uint8Array, suite: Suite, object: string): Manifest {
  const opened = openManifest(bytes, suite.checksum, object);
  const { inventory } = opened;
  if (inventory.repositoryId !== suite.repositoryId) {
    throw damaged(object, `belongs to repository ${inventory.repositoryId}`);
  }
  const key = manifestKey(suite, inventory);
  if (opened.sealed !== (key !== null))
    throw damaged(object, 'is sealed where its repository is not, or the reverse');
  const facts = key === null ? opened.facts : unseal(key, opened.aad, opened.facts);
  if (facts === null) throw damaged(object, 'its facts fail their authentication');
  return { inventory, facts: parsePart(factsSchema, facts, opened.factsPlain, object) };
}

/** Packs in any order, doubles allowed, as ranges. */
export function packRanges(packs: Iterable<PackRef>): PackRanges {
  const byWriter = new Map<string, Set<number>>();
  for (const { writerId, seq } of packs) {
    const seqs = byWriter.get(writerId) ?? new Set<number>();
    byWriter.set(writerId, seqs.add(seq));
  }
  return [...byWriter]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([writerId, seqs]) => ({ writerId, seqs: ranges([...seqs].sort((a, b) => a - b)) }));
}

function ranges(sorted: readonly number[]): [number, number][] {
  const out: [number, number][] = [];
  for (const seq of sorted) {
    const last = out.at(-1);
    if (last !== undefined && last[1] === seq - 1) last[1] = seq;
    else out.push([seq, seq]);
  }
  return out;
}

export function* packsIn(ranged: PackRanges): Generator<PackRef> {
  for (const { writerId, seqs } of ranged) {
    for (const [first, last] of seqs) for (let seq = first; seq <= last; seq += 1) yield { writerId, seq };
  }
}

/** Put in the place of a manifest, it forbids the point for ever: whoever may still be writing it finds it there and gives up. */
export function encodeVoidPoint(
  point: { readonly repositoryId: string; readonly chainId: string; readonly pointId: string },
  checksum: Digest,
): Buffer {
  const out = new ByteWriter(64 + ID_BYTES).bytes(voidMagic).u16(FORMAT_VERSION).reserved(6);
  out.uuid(point.repositoryId).uuid(point.chainId).uuid(point.pointId);
  return out.bytes(checksum(out.written())).done();
}

/** Whether the object of a point says that there is none. A void point that is damaged is a fault. */
export function isVoidPoint(bytes: Uint8Array, checksum: Digest, object: string): boolean {
  const all = asBuffer(bytes);
  if (!all.subarray(0, 8).equals(voidMagic)) return false;
  const reader = new ByteReader(all, object);
  reader.bytes(8);
  const version = reader.u16();
  if (version !== FORMAT_VERSION) throw unsupported(object, `void point version ${version}`);
  reader.reserved(6);
  reader.bytes(48);
  if (!reader.bytes(ID_BYTES).equals(checksum(all.subarray(0, 64)))) {
    throw damaged(object, 'does not have the hash that it ends with');
  }
  reader.end();
  return true;
}
