import { Fault, type FaultJson } from '@casvault/contracts';
import { openObjectStore, type StoreLocation } from '@casvault/object-store';
import {
  decodePackEnd,
  packKey,
  packsIn,
  pointKey,
  type PointDisk,
  type RepositoryKey,
} from '@casvault/repository';
import { PACK_BYTES } from './pack-writer.js';
import { pageAlignedBuffer } from './page-memory.js';
import { readInventory, readManifest } from './points.js';
import {
  folderOf,
  openLocked,
  openRepository,
  type LockedRepository,
  type Repository,
} from './repository.js';
import { readDisks, type RestoreRun } from './restore-point.js';

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

/** A disk of a point, as far as its content was checked. */
export interface VerifiedDisk {
  readonly target: string;
  readonly sizeBytes: number;
  /** Found as they should be; zeros are not counted. */
  readonly checkedBytes: number;
  /** Of the disk: what a restore could not bring back. Where a map is damaged, all that it covers. */
  readonly damagedBytes: number;
  /** Where, ascending; at most `maxRuns` of them. */
  readonly damaged: readonly { readonly offset: number; readonly length: number }[];
}

export interface VerifyResult {
  /** What is missing or damaged, at most `maxFaults` of them; empty when the point is sound. */
  readonly faults: readonly FaultJson[];
  /** Read and checked. */
  readonly checkedBytes: number;
  /** With depth `content`; empty with `stored`, which does not know disks. */
  readonly disks: readonly VerifiedDisk[];
}

const maxFaults = 1_000;
const maxRuns = 1_000;

/** Damaged places of one disk. Memory: `maxRuns` pairs of numbers. */
class Damage {
  bytes = 0;
  readonly #runs: { offset: number; length: number }[] = [];

  add(offset: number, length: number): void {
    this.bytes += length;
    const last = this.#runs.at(-1);
    if (last !== undefined && last.offset + last.length === offset) last.length += length;
    else if (this.#runs.length < maxRuns) this.#runs.push({ offset, length });
  }

  get runs(): readonly { offset: number; length: number }[] {
    return this.#runs.toSorted((a, b) => a.offset - b.offset);
  }
}

/** Checks a point. A missing or damaged manifest is thrown; what is wrong behind it is in the result. Memory: as a restore, or one pack. */
export async function verifyPoint(request: VerifyRequest, run: RestoreRun): Promise<VerifyResult> {
  const store = openObjectStore(request.location);
  try {
    const { depth } = request;
    if (depth.kind === 'stored') return await verifyStored(await openLocked(store, run), request, run.signal);
    const repository = await openRepository(store, { key: depth.key, signal: run.signal });
    const { facts } = await readManifest(repository, request, run.signal);
    return await verifyContent(repository, request, depth.streamsPerDisk, facts.disks, run);
  } finally {
    await store.close();
  }
}

async function verifyContent(
  repository: Repository,
  request: VerifyRequest,
  streamsPerDisk: number,
  pointDisks: readonly PointDisk[],
  run: RestoreRun,
): Promise<VerifyResult> {
  const faults: FaultJson[] = [];
  const damages = new Map(pointDisks.map(({ target }) => [target, new Damage()]));
  const width = { ...request, disksInParallel: 1, streamsPerDisk };
  const done = await readDisks(
    repository,
    width,
    pointDisks.map((disk) => ({ disk, target: null })),
    {
      ...run,
      tolerates: (fault) => fault.kind === 'corrupt' && note(faults, fault),
      damaged: (target, offset, length) => damages.get(target)?.add(offset, length),
    },
  );
  const disks = pointDisks.map(({ target, sizeBytes }, i) => {
    const { bytes = 0, runs = [] } = damages.get(target) ?? {};
    const checkedBytes = done[i]!.progress.doneBytes;
    return { target, sizeBytes, checkedBytes, damagedBytes: bytes, damaged: runs };
  });
  return { faults, checkedBytes: disks.reduce((sum, disk) => sum + disk.checkedBytes, 0), disks };
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
  return { faults, checkedBytes, disks: [] };
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
