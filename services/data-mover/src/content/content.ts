import { type PointReader } from '@casvault/data-path';
import { clusterBytes, Qcow2Image } from './qcow2-image.js';

/** Read at once. */
const chunkBytes = 1 << 20;

/** What a download sends. */
export interface Content {
  readonly sizeBytes: number;
  /** Whether it can be begun in the middle. */
  readonly ranges: boolean;
  /** The bytes of `[from, to)`; without ranges always all. */
  bytes(from: number, to: number): AsyncGenerator<Buffer>;
}

type Source = Pick<PointReader, 'sizeBytes' | 'read' | 'extents'>;

const readAt = async (source: Source, offset: number, length: number): Promise<Buffer> => {
  const bytes = Buffer.allocUnsafe(length);
  await source.read(offset, bytes);
  return bytes;
};

/** The disk as it is, zeros included. Memory: one read of 1 MiB, and one that is being sent. */
export const rawOf = (source: Source): Content => ({
  sizeBytes: source.sizeBytes,
  ranges: true,
  async *bytes(from, to) {
    for (let at = from; at < to; at += chunkBytes)
      yield await readAt(source, at, Math.min(chunkBytes, to - at));
  },
});

/** Only what is not zero, in a qcow2; without ranges, because its tables would be computed anew for each. */
export const qcow2Of = async (source: Source): Promise<Content> => {
  const image = await Qcow2Image.of(source.sizeBytes, source.extents());
  return {
    sizeBytes: image.fileBytes,
    ranges: false,
    async *bytes() {
      yield* image.metadata();
      for (const { offset, length } of image.data()) {
        yield await readAt(source, offset, length);
        const rest = length % clusterBytes;
        if (rest > 0) yield Buffer.alloc(clusterBytes - rest);
      }
    },
  };
};
