import { Fault, type Logger } from '@casvault/contracts';
import type { BlockNode, Libvirt } from '@casvault/libvirt';
import type { LayerBitmap } from '../opening/bitmap.plan.js';
import type { Image } from './image.js';

/** Bitmaps over the layers of a disk. */
export interface DiskBitmaps {
  readonly bitmaps: readonly LayerBitmap[];
  /** The active layer's are known: from the file of a stopped VM, from QEMU itself for a running one. */
  readonly isActiveKnown: boolean;
}

/** As the files tell: for a VM that does not run. */
export function keptBitmaps(chain: readonly Image[]): DiskBitmaps {
  const bitmaps = chain.flatMap((image, layer) =>
    image.bitmaps.map(({ name, inUse, auto }) => ({
      name,
      layer,
      isInconsistent: inUse,
      isRecording: auto,
    })),
  );
  return { bitmaps, isActiveKnown: true };
}

/**
 * As QEMU tells, which alone knows those of images that it has open; files that it has not open speak for themselves. With
 * `nodes` null, the files below the active layer are all that is known.
 */
export function liveBitmaps(chain: readonly Image[], nodes: readonly BlockNode[] | null): DiskBitmaps {
  const bitmaps: LayerBitmap[] = [];
  for (const [layer, image] of chain.entries()) {
    const node = nodes?.find(({ driver, file }) => driver === 'qcow2' && file === image.path);
    if (node) {
      for (const { name, inconsistent, recording } of node.bitmaps) {
        bitmaps.push({ name, layer, isInconsistent: inconsistent, isRecording: recording });
      }
    } else if (layer > 0) {
      bitmaps.push(...keptBitmaps([image]).bitmaps.map((bitmap) => ({ ...bitmap, layer })));
    }
  }
  const [active] = chain;
  const isActiveKnown =
    nodes?.some(({ driver, file }) => driver === 'qcow2' && file === active?.path) === true;
  return { bitmaps, isActiveKnown };
}

/** QEMU's own word on a running VM's images; null where its monitor is not to be had. */
export async function askQemu(
  libvirt: Libvirt,
  vmUuid: string,
  logger: Logger,
  signal?: AbortSignal,
): Promise<BlockNode[] | null> {
  try {
    return await libvirt.blockNodes(vmUuid, signal ? { signal } : {});
  } catch (error) {
    if (!(Fault.is(error) && error.code === 'LIBVIRT_FAILED')) throw error;
    logger.warn({ vmUuid, said: error.message }, 'QEMU could not be asked for its bitmaps');
    return null;
  }
}
