import { allocationContext, isDirty, isZero, NbdClient, type NbdEndpoint } from '@casvault/block-source';
import { type ReasonCode } from '@casvault/contracts';
import { BlockSet } from './block-set.js';

/** What the source says about a disk before any of it is read. */
export interface SourceMap {
  readonly sizeBytes: number;
  /** Several connections may read at once. */
  readonly canMultiConn: boolean;
  /** Blocks that may hold anything but zeros. */
  readonly data: BlockSet;
  /** Blocks that changed since the parent; null when that is not known. */
  readonly changed: BlockSet | null;
  readonly reasons: readonly ReasonCode[];
}

/** Asks for allocation and, where named, the dirty bitmap. Memory: two `BlockSet`s. */
export async function readSourceMap(
  endpoint: NbdEndpoint,
  bitmapContext: string | null,
  signal: AbortSignal,
): Promise<SourceMap> {
  const contexts = bitmapContext === null ? [allocationContext] : [allocationContext, bitmapContext];
  const source = await NbdClient.connect(endpoint, { contexts, signal });
  const reasons: ReasonCode[] = [];
  try {
    const { sizeBytes, canMultiConn } = source;
    const mapped = source.contexts.has(allocationContext);
    if (!mapped && sizeBytes > 0) reasons.push('MAP_UNAVAILABLE');
    const data = mapped
      ? await collect(source, allocationContext, (flags) => !isZero(flags), signal)
      : wholeDisk(sizeBytes);
    const tracked = bitmapContext !== null && source.contexts.has(bitmapContext);
    if (bitmapContext !== null && !tracked) reasons.push('BITMAP_UNAVAILABLE');
    const changed = tracked ? await collect(source, bitmapContext, isDirty, signal) : null;
    return { sizeBytes, canMultiConn, data, changed, reasons };
  } finally {
    await source.close();
  }
}

function wholeDisk(sizeBytes: number): BlockSet {
  const all = new BlockSet();
  all.addBytes(0, sizeBytes);
  return all;
}

async function collect(
  source: NbdClient,
  context: string,
  belongs: (flags: number) => boolean,
  signal: AbortSignal,
): Promise<BlockSet> {
  const found = new BlockSet();
  if (source.sizeBytes === 0) return found;
  for await (const { offset, length, flags } of source.extents(context, { signal })) {
    if (belongs(flags)) found.addBytes(offset, length);
  }
  return found;
}
