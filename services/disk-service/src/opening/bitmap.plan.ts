import type { OpeningId, ReasonCode } from '@casvault/contracts';

/** A bitmap by its place in the layers of a disk: 0 is the active one. */
export interface LayerBitmap {
  readonly name: string;
  readonly layer: number;
  /** Not saved cleanly: it says nothing. */
  readonly isInconsistent: boolean;
  /** It notes every write, or will as soon as the image is opened. */
  readonly isRecording: boolean;
}

/** What is known of the checkpoint that a bitmap is asked from. */
export interface KnownCheckpoint {
  readonly targets: readonly string[];
  /** Null: not proven to be ours. */
  readonly madeBy: OpeningId | null;
  readonly sizes: ReadonlyMap<string, number>;
}

export interface BitmapQuestion {
  readonly wanted: string;
  readonly target: string;
  /** qcow2 of version 3. */
  readonly keepsBitmaps: boolean;
  readonly sizeBytes: number;
  /** Null: libvirt has none of that name for this VM. */
  readonly checkpoint: KnownCheckpoint | null;
  readonly bitmaps: readonly LayerBitmap[];
  /** The bitmaps of the active layer are known; false: QEMU has them and could not be asked, so libvirt must judge. */
  readonly isActiveKnown: boolean;
}

export type BitmapVerdict =
  | { readonly isTrusted: true; readonly madeBy: OpeningId }
  | { readonly isTrusted: false; readonly reason: ReasonCode };

const no = (reason: ReasonCode): BitmapVerdict => ({ isTrusted: false, reason });

/**
 * Whether the bitmap of a disk tells every block that changed since the checkpoint (D2, D6, R7). It does when libvirt knows the
 * checkpoint for this disk, its note proves an opening of ours, the disk has its size of then, and the one bitmap of that name
 * lies whole and recording in the active layer: a bitmap below belongs to a time before somebody's snapshot.
 */
export function judgeBitmap(question: BitmapQuestion): BitmapVerdict {
  const { checkpoint, target, wanted, sizeBytes, isActiveKnown } = question;
  if (!question.keepsBitmaps) return no('CBT_UNSUPPORTED');
  if (checkpoint?.targets.includes(target) !== true) return no('BITMAP_MISSING');
  if (checkpoint.madeBy === null) return no('BITMAP_LINEAGE_UNPROVEN');
  const sizeThen = checkpoint.sizes.get(target);
  if (sizeThen !== undefined && sizeThen !== sizeBytes) return no('DISK_RESIZED');
  const layers = question.bitmaps.filter(({ name }) => name === wanted);
  if (layers.some(({ layer }) => layer > 0)) return no('BITMAP_FOREIGN_LAYER');
  const [active] = layers;
  if (isActiveKnown && active === undefined) return no('BITMAP_MISSING');
  if (isActiveKnown && !isWhole(active)) return no('BITMAP_INCONSISTENT');
  return { isTrusted: true, madeBy: checkpoint.madeBy };
}

const isWhole = (bitmap: LayerBitmap | undefined): boolean =>
  bitmap !== undefined && !bitmap.isInconsistent && bitmap.isRecording;
