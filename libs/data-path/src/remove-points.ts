import { Fault } from '@casvault/contracts';
import { type ObjectStore } from '@casvault/object-store';
import {
  chainPrefix,
  encodeVoidPoint,
  packsIn,
  parsePackKey,
  parsePointKey,
  parseRemovalKey,
  pointKey,
  removalKey,
  removalPrefix,
  writerPrefix,
} from '@casvault/repository';
import { inLanes } from './lanes.js';
import { PackSet } from './pack-set.js';
import { inventoryIn } from './points.js';
import { folderOf, openLocked, type LockedRepository } from './repository.js';

/** Requests under way at once. */
const lanes = Array.from({ length: 8 }, (_, i) => i);

export interface RemovalRequest {
  readonly chainId: string;
  /** Any points of the chain; those that are gone or never were are no fault. */
  readonly pointIds: readonly string[];
  /** All attempts at these points: their packs that no point needs go, too, and none of them can commit any more. */
  readonly writers?: readonly string[];
  /** Only tells what would go. */
  readonly dryRun?: boolean;
}

export interface RemovalResult {
  /** Bytes of the manifests and packs that went, exactly; of a dry run: that would go. */
  readonly freedBytes: number;
  /** Manifests and packs. */
  readonly removedObjects: number;
  /** Notes of what is being removed, which are gone in the end, and void points, which stay. */
  readonly writtenBytes: number;
}

interface StoredObject {
  readonly key: string;
  readonly sizeBytes: number;
}

/**
 * Removes points of a chain, wherever they stand in it, with what only they need: notes of what they name, then their manifests, then the
 * packs that no other point of the chain refers to, then the notes. The others lose nothing: each has a whole map of its own. Killed anywhere
 * and done again (for these or other points of the chain) it goes on where it was. Needs no key.
 * An attempt that stalled right before it put its manifest may wake at any time: where the writers tell that there may be one, a void point
 * comes in the manifest's place before any pack goes, so that it never commits a point without packs.
 * The caller sees to it that no backup of the same chain runs. Dedup scope `chain` only (CONFLICT otherwise): shared packs are collected, not
 * removed. A manifest of another point that cannot be read stops it before anything went (POOL_OBJECT_DAMAGED).
 * Memory: the packs of the chain, 20 bytes each; 8 manifests; about 200 bytes a point.
 */
export async function removePoints(
  store: ObjectStore,
  request: RemovalRequest,
  options: { readonly signal: AbortSignal },
): Promise<RemovalResult> {
  const repository = await openLocked(store, options);
  if (repository.descriptor.dedupScope !== 'chain') {
    throw new Fault('CONFLICT', 'packs that chains share are collected, not removed with a point');
  }
  return new Removal(repository, request, options.signal).run();
}

class Removal {
  readonly #repository: LockedRepository;
  readonly #chainId: string;
  readonly #doomed: ReadonlySet<string>;
  readonly #writers: ReadonlySet<string>;
  readonly #dryRun: boolean;
  readonly #signal: AbortSignal;
  /** What the points that stay refer to. */
  readonly #live = new PackSet();
  /** What those that go refer to. */
  readonly #named = new PackSet();
  #freedBytes = 0;
  #removedObjects = 0;
  #writtenBytes = 0;

  constructor(repository: LockedRepository, request: RemovalRequest, signal: AbortSignal) {
    this.#repository = repository;
    this.#chainId = request.chainId.toLowerCase();
    this.#doomed = new Set(request.pointIds.map((id) => id.toLowerCase()));
    this.#writers = new Set(request.writers?.map((id) => id.toLowerCase()));
    this.#dryRun = request.dryRun === true;
    this.#signal = signal;
  }

  async run(): Promise<RemovalResult> {
    const { manifests, voids, staying } = await this.#readPoints();
    const notes = await this.#readNotes(staying);
    const mayBeOthers = this.#writers.size > manifests.length;
    await this.#forbidAbsent(manifests, voids);
    const packs = await this.#packsToRemove();
    if (packs.length > 0) for (const one of manifests) notes.push(...(await this.#note(one)));
    await this.#remove(manifests, mayBeOthers);
    await this.#remove(packs);
    if (!this.#dryRun) await inLanes(notes, lanes, (key) => this.#delete(key));
    return {
      freedBytes: this.#freedBytes,
      removedObjects: this.#removedObjects,
      writtenBytes: this.#writtenBytes,
    };
  }

  async #readPoints(): Promise<{ manifests: StoredObject[]; voids: Set<string>; staying: Set<string> }> {
    const all = await this.#list(chainPrefix(this.#chainId));
    const manifests: StoredObject[] = [];
    const voids = new Set<string>();
    const staying = new Set<string>();
    await inLanes(all, lanes, async (object) => {
      const pointId = parsePointKey(object.key)?.pointId;
      if (pointId === undefined) return;
      if (this.#doomed.has(pointId)) {
        if ((await this.#addNamed(object.key, object.key)) === 'void') voids.add(pointId);
        else manifests.push(object);
        return;
      }
      const inventory = await this.#inventory(object.key, object.key);
      if (inventory !== null) staying.add(pointId);
      for (const pack of packsIn(inventory?.packs ?? [])) this.#live.add(pack);
    });
    return { manifests, voids, staying };
  }

  /** Points of attempts that committed nothing: void from now on, or removed with the manifest that somebody puts just now. */
  async #forbidAbsent(manifests: StoredObject[], voids: ReadonlySet<string>): Promise<void> {
    if (this.#dryRun || this.#writers.size === 0) return;
    const found = new Set(manifests.map(({ key }) => key));
    const absent = [...this.#doomed].filter((pointId) => !voids.has(pointId));
    const keys = absent.map((pointId) => pointKey(this.#chainId, pointId)).filter((key) => !found.has(key));
    await inLanes(keys, lanes, async (key) => {
      if (await this.#putVoid(key, true)) return;
      const kind = await this.#addNamed(key, key);
      const sizeBytes = (await this.#repository.store.stat(key, { signal: this.#signal }))?.sizeBytes ?? 0;
      if (kind === 'manifest') manifests.push({ key, sizeBytes });
    });
  }

  /** False: `ifAbsent`, yet there is something. */
  async #putVoid(key: string, ifAbsent: boolean): Promise<boolean> {
    const { store, descriptor, checksum } = this.#repository;
    const pointId = parsePointKey(key)?.pointId;
    if (pointId === undefined) throw new Fault('BUG', `${key} is no point`);
    const { repositoryId } = descriptor;
    const bytes = encodeVoidPoint({ repositoryId, chainId: this.#chainId, pointId }, checksum);
    try {
      await store.put(key, bytes, { ifAbsent, signal: this.#signal });
    } catch (error) {
      if (Fault.from(error).code === 'POOL_OBJECT_EXISTS') return false;
      throw error;
    }
    this.#writtenBytes += bytes.length;
    return true;
  }

  /** What earlier removals noted and did not end. A note of a point that is still there is of one that did not even begin. */
  async #readNotes(staying: ReadonlySet<string>): Promise<string[]> {
    const keys: string[] = [];
    for (const { key } of await this.#list(removalPrefix(this.#chainId))) {
      const point = parseRemovalKey(key);
      if (point === null || staying.has(point.pointId)) continue;
      keys.push(key);
      await this.#addNamed(key, `points/${point.chainId}/${point.pointId}`);
    }
    return keys;
  }

  /** A manifest that is unreadable names no packs: those of the writers are found by listing. */
  async #addNamed(key: string, ofPoint: string): Promise<'manifest' | 'void'> {
    try {
      const inventory = await this.#inventory(key, ofPoint);
      for (const pack of packsIn(inventory?.packs ?? [])) this.#named.add(pack);
      return inventory === null ? 'void' : 'manifest';
    } catch (error) {
      if (Fault.from(error).kind !== 'corrupt') throw error;
      return 'manifest';
    }
  }

  async #inventory(key: string, ofPoint: string) {
    const bytes = await this.#repository.store.get(key, { signal: this.#signal });
    return inventoryIn(bytes, this.#repository, ofPoint);
  }

  async #packsToRemove(): Promise<StoredObject[]> {
    const packs: StoredObject[] = [];
    const folder = folderOf(this.#repository, this.#chainId);
    const writers = new Set(this.#writers);
    for (const { writerId } of this.#named.ranges()) writers.add(writerId);
    await inLanes([...writers], lanes, async (writerId) => {
      for (const object of await this.#list(writerPrefix(folder, writerId))) {
        const pack = parsePackKey(object.key)?.pack;
        if (pack === undefined || this.#live.has(pack)) continue;
        if (this.#writers.has(writerId) || this.#named.has(pack)) packs.push(object);
      }
    });
    return packs;
  }

  async #list(prefix: string): Promise<StoredObject[]> {
    const found: StoredObject[] = [];
    for await (const one of this.#repository.store.list(prefix, { signal: this.#signal })) found.push(one);
    return found;
  }

  /** Keeps what a manifest names until its packs are gone: after a kill nothing else would know. */
  async #note({ key, sizeBytes }: StoredObject): Promise<string[]> {
    const pointId = parsePointKey(key)?.pointId;
    if (pointId === undefined || this.#dryRun) return [];
    const { store } = this.#repository;
    const note = removalKey(this.#chainId, pointId);
    await store.put(note, await store.get(key, { signal: this.#signal }), { signal: this.#signal });
    this.#writtenBytes += sizeBytes;
    return [note];
  }

  /** All of them before anything that comes after; `forbids`: a void point takes the place of each, at once. */
  async #remove(objects: readonly StoredObject[], forbids = false): Promise<void> {
    await inLanes(objects, lanes, async ({ key, sizeBytes }) => {
      if (!this.#dryRun) await (forbids ? this.#putVoid(key, false) : this.#delete(key));
      this.#freedBytes += sizeBytes;
      this.#removedObjects += 1;
    });
  }

  #delete(key: string): Promise<void> {
    return this.#repository.store.delete(key, { signal: this.#signal });
  }
}
