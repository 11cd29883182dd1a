import { Fault } from '@casvault/contracts';
import { type ObjectStore } from '@casvault/object-store';
import {
  packKey,
  packsIn,
  parsePackKey,
  pointKey,
  writerPrefix,
  type PackRanges,
} from '@casvault/repository';
import { PackSet } from './pack-set.js';
import { listPoints, readInventory } from './points.js';
import { folderOf, openLocked } from './repository.js';

/**
 * Removes a point and what only it needs, or what failed attempts at it left: its manifest first, then those packs of the manifest and of
 * `writers` that no other point of the chain refers to. Idempotent; needs no key. The caller sees to it that no backup of the same chain runs.
 * Dedup scope `chain` only (CONFLICT otherwise): shared packs are collected, not removed. Memory: the packs of the chain, 20 bytes each.
 */
export async function removePointData(
  store: ObjectStore,
  request: { readonly chainId: string; readonly pointId: string; readonly writers: readonly string[] },
  options: { readonly signal: AbortSignal },
): Promise<{ readonly removedPacks: number }> {
  const { signal } = options;
  const repository = await openLocked(store, options);
  if (repository.descriptor.dedupScope !== 'chain') {
    throw new Fault('CONFLICT', 'packs that chains share are collected, not removed with a point');
  }
  const key = pointKey(request.chainId, request.pointId);
  const own = await packsOfManifest(() => readInventory(repository, key, signal));
  const folder = folderOf(repository, request.chainId);
  await store.delete(key, { signal });
  const live = new PackSet();
  for await (const point of listPoints(repository, { chainId: request.chainId, signal })) {
    const inventory = await readInventory(repository, point.key, signal);
    for (const pack of packsIn(inventory?.packs ?? [])) live.add(pack);
  }
  let removedPacks = 0;
  for (const pack of packsIn(own)) {
    if (live.has(pack)) continue;
    await store.delete(packKey(folder, pack), { signal });
    removedPacks += 1;
  }
  for (const writerId of request.writers) {
    for await (const listed of store.list(writerPrefix(folder, writerId), { signal })) {
      const pack = parsePackKey(listed.key)?.pack;
      if (pack === undefined || live.has(pack)) continue;
      await store.delete(listed.key, { signal });
      removedPacks += 1;
    }
  }
  return { removedPacks };
}

/** A manifest that is gone or unreadable names no packs: those of the writers are found by listing. */
async function packsOfManifest(read: () => Promise<{ packs: PackRanges } | null>): Promise<PackRanges> {
  try {
    return (await read())?.packs ?? [];
  } catch (error) {
    if (Fault.from(error).kind === 'corrupt') return [];
    throw error;
  }
}
