/**
 * Frozen numbers and object names of repository format 1 (docs/formats/repository-v1.md). Whatever is here is in every pool
 * for ever: a change of meaning is a new format version, never an edit.
 */
export const FORMAT_VERSION = 1;

/** The grain of identity and of QEMU's dirty bitmaps. */
export const BLOCK_BYTES = 65_536;
/** The grain of compression: new blocks of one aligned group share a frame. */
export const GROUP_BYTES = 1_048_576;
export const BLOCKS_PER_GROUP = GROUP_BYTES / BLOCK_BYTES;
export const BLOCKS_PER_PAGE = 2_048;
export const PAGE_SPAN_BYTES = BLOCKS_PER_PAGE * BLOCK_BYTES;
export const PAGES_PER_SEGMENT = 1_024;
export const SEGMENT_SPAN_BYTES = PAGES_PER_SEGMENT * PAGE_SPAN_BYTES;
export const ID_BYTES = 32;

/** 1 PiB: 8192 segments, a manifest of about 2 MiB before compression. */
export const MAX_DISK_BYTES = 2 ** 50;
export const MAX_PACK_BYTES = 64 * 1_048_576;
export const MAX_FRAMES_PER_PACK = 65_535;
export const MAX_WRITERS_PER_SEGMENT = 65_535;
export const MAX_PACKS_PER_SEGMENT = 1_048_576;
export const MAX_MANIFEST_BYTES = 64 * 1_048_576;
/** A nonce (12) and a tag (16) around every encrypted frame. */
export const SEAL_BYTES = 28;

/** One object of packed frames. `seq` counts within its writer; a writer never writes the same one twice. */
export interface PackRef {
  readonly writerId: string;
  readonly seq: number;
}

export type DedupScope = 'chain' | 'pool';

const uuid = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}';
const packPattern = new RegExp(`^packs/(${uuid}|shared)/(${uuid})/([0-9a-f]{8})$`);
const removalPattern = new RegExp(`^removals/(${uuid})/(${uuid})$`);
const pointPattern = new RegExp(`^points/(${uuid})/(${uuid})$`);

export const DESCRIPTOR_KEY = 'repository.json';

/** The folder of a chain's packs: its own (scope `chain`) or the one that all chains share (scope `pool`). */
export function packFolder(scope: DedupScope, chainId: string): string {
  return scope === 'pool' ? 'shared' : chainId.toLowerCase();
}

export function writerPrefix(folder: string, writerId: string): string {
  return `packs/${folder}/${writerId.toLowerCase()}/`;
}

export function packKey(folder: string, pack: PackRef): string {
  return writerPrefix(folder, pack.writerId) + pack.seq.toString(16).padStart(8, '0');
}

export function parsePackKey(key: string): { folder: string; pack: PackRef } | null {
  const match = packPattern.exec(key);
  if (match === null) return null;
  return { folder: match[1]!, pack: { writerId: match[2]!, seq: Number.parseInt(match[3]!, 16) } };
}

export function chainPrefix(chainId: string): string {
  return `points/${chainId.toLowerCase()}/`;
}

export function pointKey(chainId: string, pointId: string): string {
  return chainPrefix(chainId) + pointId.toLowerCase();
}

export function parsePointKey(key: string): { chainId: string; pointId: string } | null {
  const match = pointPattern.exec(key);
  return match === null ? null : { chainId: match[1]!, pointId: match[2]! };
}

/** Where the manifest of a point is noted while its packs are being removed. */
export function removalKey(chainId: string, pointId: string): string {
  return removalPrefix(chainId) + pointId.toLowerCase();
}

export function removalPrefix(chainId: string): string {
  return `removals/${chainId.toLowerCase()}/`;
}

export function parseRemovalKey(key: string): { chainId: string; pointId: string } | null {
  const match = removalPattern.exec(key);
  return match === null ? null : { chainId: match[1]!, pointId: match[2]! };
}

export function indexKey(segmentId: string): string {
  return `index/${segmentId.toLowerCase()}`;
}

export function relocationKey(tableId: string): string {
  return `moves/${tableId.toLowerCase()}`;
}
