import { Fault } from '@casvault/contracts';
import {
  chainPrefix,
  damaged,
  decodeInventory,
  decodeManifest,
  isVoidPoint,
  manifestHash,
  parsePointKey,
  pointKey,
  type Manifest,
  type PointInventory,
} from '@casvault/repository';
import { type LockedRepository, type Repository } from './repository.js';

/** A manifest, and the object that holds it. */
export interface StoredManifest extends Manifest {
  /** The hash that it ends with. */
  readonly hash: string;
  readonly sizeBytes: number;
}

/** What stands in the place of a manifest: the point, nothing, or the word that there shall never be one. */
export async function lookUpPoint(
  repository: Repository,
  point: { readonly chainId: string; readonly pointId: string },
  signal: AbortSignal,
): Promise<StoredManifest | 'absent' | 'void'> {
  const key = pointKey(point.chainId, point.pointId);
  let bytes: Uint8Array;
  try {
    bytes = await repository.store.get(key, { signal });
  } catch (error) {
    if (Fault.from(error).code === 'POOL_OBJECT_MISSING') return 'absent';
    throw error;
  }
  if (isVoidPoint(bytes, repository.checksum, key)) return 'void';
  const manifest = decodeManifest(bytes, repository.suite, key);
  requireSamePoint(manifest.inventory, key);
  return { ...manifest, hash: manifestHash(bytes), sizeBytes: bytes.length };
}

/** The manifest of a point; null where the point was never committed or is gone. Faults: POOL_OBJECT_DAMAGED. */
export async function findManifest(
  repository: Repository,
  point: { readonly chainId: string; readonly pointId: string },
  signal: AbortSignal,
): Promise<StoredManifest | null> {
  const found = await lookUpPoint(repository, point, signal);
  return typeof found === 'string' ? null : found;
}

/** As `findManifest`, but a missing manifest is POOL_OBJECT_MISSING. */
export async function readManifest(
  repository: Repository,
  point: { readonly chainId: string; readonly pointId: string },
  signal: AbortSignal,
): Promise<StoredManifest> {
  const manifest = await findManifest(repository, point, signal);
  if (manifest !== null) return manifest;
  const key = pointKey(point.chainId, point.pointId);
  throw new Fault('POOL_OBJECT_MISSING', `no point ${point.pointId}: ${key} is not in the pool`, {
    details: { key },
  });
}

/** The part of a manifest that needs no key; null for a void point. */
export async function readInventory(
  repository: LockedRepository,
  key: string,
  signal: AbortSignal,
): Promise<PointInventory | null> {
  return inventoryIn(await repository.store.get(key, { signal }), repository, key);
}

/** As `readInventory`, of bytes that were read already. */
export function inventoryIn(
  bytes: Uint8Array,
  { checksum }: LockedRepository,
  key: string,
): PointInventory | null {
  if (isVoidPoint(bytes, checksum, key)) return null;
  const inventory = decodeInventory(bytes, checksum, key);
  requireSamePoint(inventory, key);
  return inventory;
}

function requireSamePoint(inventory: PointInventory, key: string): void {
  const { chainId, pointId } = inventory;
  if (pointKey(chainId, pointId) !== key)
    throw damaged(key, `is the manifest of ${pointKey(chainId, pointId)}`);
}

/** The points of one chain, or of all, in the order of their keys; also void ones, which only their content tells. */
export async function* listPoints(
  repository: LockedRepository,
  options: { readonly chainId?: string; readonly signal: AbortSignal },
): AsyncGenerator<{ chainId: string; pointId: string; key: string }> {
  const { chainId, signal } = options;
  const prefix = chainId === undefined ? 'points/' : chainPrefix(chainId);
  for await (const { key } of repository.store.list(prefix, { signal })) {
    const point = parsePointKey(key);
    if (point !== null) yield { ...point, key };
  }
}
