/**
 * The on-pool format of docs/formats/repository-v1.md, pure: bytes in, bytes out. It hides every offset and magic number, refuses what it
 * does not know (POOL_FORMAT_UNSUPPORTED), and names the object in whatever is not as it must be (POOL_OBJECT_DAMAGED).
 * It must never do I/O, keep state between calls, or allocate by a length that it has not checked.
 */
export { damaged } from './bytes.js';
export { openDigest, type Digest, type HashName } from './digest.js';
export {
  decodeDescriptor,
  encodeDescriptor,
  unwrapMasterKey,
  wrapMasterKey,
  type Descriptor,
  type MasterKeyWrapping,
  type RepositoryKey,
} from './descriptor.js';
export {
  blocksIn,
  codedBound,
  openCodeFrame,
  openFrame,
  sealFrame,
  type CodeFrame,
  type FrameCodec,
  type FrameKind,
  type FrameRef,
  type Unpack,
} from './frame.js';
export {
  BLOCK_BYTES,
  BLOCKS_PER_GROUP,
  BLOCKS_PER_PAGE,
  chainPrefix,
  DESCRIPTOR_KEY,
  FORMAT_VERSION,
  GROUP_BYTES,
  ID_BYTES,
  indexKey,
  MAX_DISK_BYTES,
  MAX_FRAMES_PER_PACK,
  MAX_PACK_BYTES,
  PAGE_SPAN_BYTES,
  PAGES_PER_SEGMENT,
  packFolder,
  packKey,
  parsePackKey,
  parsePointKey,
  parseRemovalKey,
  pointKey,
  relocationKey,
  removalKey,
  removalPrefix,
  SEAL_BYTES,
  SEGMENT_SPAN_BYTES,
  writerPrefix,
  type DedupScope,
  type PackRef,
} from './layout.js';
export {
  decodeInventory,
  decodeManifest,
  encodeManifest,
  encodeVoidPoint,
  isVoidPoint,
  manifestHash,
  packRanges,
  packsIn,
  type BitmapLineage,
  type DiskStats,
  type Manifest,
  type PackRanges,
  type PointDisk,
  type PointFacts,
  type PointInventory,
  type SegmentRef,
} from './manifest.js';
export {
  blocksInMask,
  blocksOfMask,
  decodePackEnd,
  EMPTY_TRAILER_BYTES,
  encodePackEnd,
  FOOTER_BYTES,
  packEndLength,
  trailerBytesOfFrame,
  type FrameOrigin,
  type PackFrame,
  type PackTrailer,
} from './pack.js';
export {
  blockOfPlace,
  decodePage,
  encodePage,
  frameOfPlace,
  NO_PLACE,
  pageId,
  placeOf,
  type MapPage,
} from './page.js';
export {
  decodeSegment,
  encodeSegment,
  rootId,
  segmentId,
  segmentsOf,
  type MapSegment,
  type PageRef,
  type PackUse,
} from './segment.js';
export { idAt, isZeroId } from './structure.js';
export { openSuite, packFrameKey, type Suite } from './suite.js';
export {
  decodeGroupIndex,
  decodeRelocations,
  encodeGroupIndex,
  encodeRelocations,
  groupId,
  MAX_TABLE_ENTRIES,
  type FrameMove,
  type GroupEntry,
} from './table.js';
export { openDecompress, type Decompress } from './zstd.js';
