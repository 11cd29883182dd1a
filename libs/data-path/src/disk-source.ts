import { NbdClient, type DiskReader, type NbdEndpoint } from '@casvault/block-source';
import { openObjectStore, type StoreLocation } from '@casvault/object-store';
import { type PointDisk } from '@casvault/repository';
import { PointReader } from './point-reader.js';
import { openLocked, unlock, type Repository } from './repository.js';

/** A disk of a committed point, as what another point is made of (E7). Plain data, for threads. */
export interface PointSource {
  readonly location: StoreLocation;
  /** Of the repository that holds the point; null without encryption. */
  readonly masterKey: Uint8Array | null;
  readonly chainId: string;
  readonly disk: PointDisk;
  /** The disk at a point of the same chain of which the new point's parent is a copy; null: nothing is known to be as in the parent. */
  readonly since: PointDisk | null;
}

/** Where the bytes of a disk come from. */
export type DiskSource = NbdEndpoint | PointSource;

/** An open source. `destroy` ends it at once. */
export interface OpenSource extends Pick<DiskReader, 'sizeBytes' | 'read' | 'close'> {
  readonly destroy: () => void;
}

export const isPointSource = (source: DiskSource): source is PointSource => 'disk' in source;

/** Opens the source; `signal` ends all reads. Whoever opens one closes or destroys it. */
export async function openSource(source: DiskSource, signal: AbortSignal): Promise<OpenSource> {
  if (isPointSource(source)) return openPoint(source, signal);
  const client = await NbdClient.connect(source, { signal });
  return {
    sizeBytes: client.sizeBytes,
    read: (offset, into) => client.read(offset, into),
    close: () => client.close(),
    destroy: () => {
      client.destroy();
    },
  };
}

async function openPoint(source: PointSource, signal: AbortSignal): Promise<OpenSource> {
  const { repository, close } = await openSourceRepository(source, signal);
  const reader = new PointReader(repository, source.chainId, source.disk, signal);
  return {
    sizeBytes: reader.sizeBytes,
    read: (offset, into) => reader.read(offset, into, { signal }),
    close,
    destroy: () => void close().catch(() => undefined),
  };
}

/** The repository that holds the point; whoever opens it closes it. */
export async function openSourceRepository(
  { location, masterKey }: PointSource,
  signal: AbortSignal,
): Promise<{ readonly repository: Repository; readonly close: () => Promise<void> }> {
  const store = openObjectStore(location);
  try {
    return { repository: unlock(await openLocked(store, { signal }), masterKey), close: () => store.close() };
  } catch (error) {
    await store.close();
    throw error;
  }
}
