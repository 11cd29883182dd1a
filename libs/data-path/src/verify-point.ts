import { Fault, type DiskProgress, type FaultJson } from '@casvault/contracts';
import { openObjectStore, type StoreLocation } from '@casvault/object-store';
import { decodePackEnd, packKey, packsIn, pointKey, type RepositoryKey } from '@casvault/repository';
import { PACK_BYTES } from './pack-writer.js';
import { pageAlignedBuffer } from './page-memory.js';
import { readInventory, readManifest } from './points.js';
import { folderOf, openLocked, openRepository, type LockedRepository } from './repository.js';
import { readDisks } from './restore-point.js';

export interface VerifyRequest {
  readonly location: StoreLocation;
  readonly chainId: string;
  readonly pointId: string;
  /**
   * `stored`: every pack is there, whole, and every frame has the hash of its stored bytes; needs no key.
   * `content`: every block of every disk can be restored and has its id.
   */
  readonly depth:
    | { readonly kind: 'stored' }
    | { readonly kind: 'content'; readonly key: RepositoryKey | null; readonly streamsPerDisk: number };
}

export interface VerifyResult {
  /** What is missing or damaged, at most `maxFaults` of them; empty when the point is sound. */
  readonly faults: readonly FaultJson[];
  /** Read and checked. */
  readonly checkedBytes: number;
}

const maxFaults = 1_000;

/** Checks a point. A missing or damaged manifest is thrown; what is wrong behind it is in the result. Memory: as a restore, or one pack. */
export async function verifyPoint(
  request: VerifyRequest,
  run: { readonly signal: AbortSignal; readonly onProgress?: (progress: DiskProgress[]) => void },
): Promise<VerifyResult> {
  const store = openObjectStore(request.location);
  try {
    const { depth } = request;
    if (depth.kind === 'stored') return await verifyStored(await openLocked(store, run), request, run.signal);
    const repository = await openRepository(store, { key: depth.key, signal: run.signal });
    const { facts } = await readManifest(repository, request, run.signal);
    const faults: FaultJson[] = [];
    const disks = facts.disks.map((disk) => ({ disk, target: null }));
    const width = { ...request, disksInParallel: 1, streamsPerDisk: depth.streamsPerDisk };
    const tolerates = (fault: Fault): boolean => fault.kind === 'corrupt' && note(faults, fault);
    const done = await readDisks(repository, width, disks, { ...run, tolerates });
    return { faults, checkedBytes: done.reduce((sum, { progress }) => sum + progress.doneBytes, 0) };
  } finally {
    await store.close();
  }
}

function note(faults: FaultJson[], fault: Fault): boolean {
  if (faults.length < maxFaults) faults.push(fault.toJSON());
  return true;
}

async function verifyStored(
  repository: LockedRepository,
  request: VerifyRequest,
  signal: AbortSignal,
): Promise<VerifyResult> {
  const inventory = await readInventory(repository, pointKey(request.chainId, request.pointId), signal);
  if (inventory === null)
    throw new Fault('POOL_OBJECT_MISSING', `the point ${request.pointId} was made void`);
  const folder = folderOf(repository, request.chainId);
  const faults: FaultJson[] = [];
  const room = pageAlignedBuffer(PACK_BYTES + 2 * 1_048_576);
  let checkedBytes = 0;
  for (const pack of packsIn(inventory.packs)) {
    try {
      checkedBytes += await verifyPack(repository, packKey(folder, pack), room, faults, signal);
    } catch (error) {
      const fault = Fault.from(error);
      if (fault.kind !== 'corrupt') throw error;
      note(faults, fault);
    }
  }
  return { faults, checkedBytes };
}

async function verifyPack(
  { store, checksum }: LockedRepository,
  key: string,
  room: Buffer,
  faults: FaultJson[],
  signal: AbortSignal,
): Promise<number> {
  const found = await store.stat(key, { signal });
  const into = (found?.sizeBytes ?? 0) <= room.length ? { into: room } : {};
  const bytes = await store.get(key, { signal, ...into });
  const { frames } = decodePackEnd(bytes, bytes.length, checksum, key);
  for (const [i, { offset, storedLength, storedHash }] of frames.entries()) {
    if (checksum(bytes.subarray(offset, offset + storedLength)).equals(storedHash)) continue;
    const damage = `frame ${i} does not have the hash that the trailer names`;
    note(
      faults,
      new Fault('POOL_OBJECT_DAMAGED', `pool object ${key} is damaged: ${damage}`, {
        details: { key, damage },
      }),
    );
  }
  return bytes.length;
}
