import { mkdir } from 'node:fs/promises';
import { Fault } from '@casvault/contracts';
import { openObjectStore, type StoreLocation } from '@casvault/object-store';
import { type NbdEndpoint } from '@casvault/block-source';
import {
  backupPoint,
  createRepository,
  restorePoint,
  type BackupDisk,
  type BackupRequest,
  type BackupResult,
  type BackupRun,
  type BlockSet,
  type RestoreRequest,
  type RestoreResult,
  type RestoreRun,
} from '../src/index.js';

export const chainId = '0192f0c0-0000-7000-8000-00000000cccc';
export const repositoryId = '0192f0c0-0000-7000-8000-00000000aaaa';
const vmId = '0192f0c0-0000-7000-8000-00000000eeee';
const instant = '2026-01-02T03:04:05.000Z';
/** Ids that a test can read: point 1, writer 2 … */
export const uuid = (kind: 'p' | 'w' | 'd', number: number): string =>
  `0192f0c0-0000-7000-8000-${{ p: '0001', w: '0002', d: '0003' }[kind]}${number.toString().padStart(8, '0')}`;

export const key = { kind: 'raw', keyId: 'test', key: Buffer.alloc(32, 3) } as const;

export async function makeRepository(
  location: { readonly kind: 'fs'; readonly path: string },
  options: { encrypted?: boolean; hash?: 'blake3-256' | 'sha256' } = {},
): Promise<void> {
  await mkdir(location.path, { recursive: true });
  const store = openObjectStore(location);
  const { encrypted = false, hash = 'blake3-256' } = options;
  await createRepository(store, {
    repositoryId,
    createdAt: new Date(instant),
    hash,
    key: encrypted ? key : null,
  });
  await store.close();
}

export const diskOf = (number: number, source: NbdEndpoint): BackupDisk => ({
  target: `vd${'abcdef'[number]}`,
  diskId: uuid('d', number),
  role: number === 0 ? 'system' : 'data',
  bus: 'virtio',
  format: 'qcow2',
  source,
});

export function backup(
  location: StoreLocation,
  disks: readonly BackupDisk[],
  options: Partial<BackupRequest> &
    Partial<BackupRun> & { point?: number; writer?: number; parent?: number } = {},
): Promise<BackupResult> {
  const { point = 1, writer = point, parent, signal = new AbortController().signal, ...rest } = options;
  const { onProgress, onReason, beforeCommit, speed, ...request } = rest;
  const hooks = {
    signal,
    ...(onProgress && { onProgress }),
    ...(onReason && { onReason }),
    ...(speed && { speed }),
    ...(beforeCommit && { beforeCommit }),
  };
  return backupPoint(
    {
      location,
      key: null,
      chainId,
      pointId: uuid('p', point),
      kind: parent === undefined ? 'full' : 'incremental',
      writerId: uuid('w', writer),
      earlierWriters: [],
      parentPointId: parent === undefined ? null : uuid('p', parent),
      createdAt: instant,
      facts: {
        capturedAt: instant,
        method: 'live',
        vm: { vmId, uuid: vmId, name: 'test', platformName: 'lab', platformVersion: 'E0730' },
        configuration: { cpus: 2 },
      },
      disks,
      compression: { mode: 'fast' },
      disksInParallel: 1,
      streamsPerDisk: 2,
      readBytes: 1_048_576,
      ...request,
    },
    hooks,
  );
}

export function restore(
  location: StoreLocation,
  destinations: readonly NbdEndpoint[],
  options: Partial<Pick<RestoreRequest, 'unacknowledgedBytes' | 'writeBytes'>> &
    Partial<RestoreRun> & { point?: number; fresh?: boolean; encrypted?: boolean; written?: BlockSet } = {},
): Promise<RestoreResult> {
  const { point = 1, fresh = true, encrypted = false, signal = new AbortController().signal } = options;
  const { written, speed, onProgress, unacknowledgedBytes, writeBytes } = options;
  const disks = destinations.map((destination, i) => ({
    target: `vd${'abcdef'[i]}`,
    destination,
    fresh,
    ...(written && { written }),
  }));
  return restorePoint(
    {
      location,
      key: encrypted ? key : null,
      chainId,
      pointId: uuid('p', point),
      disks,
      disksInParallel: 1,
      streamsPerDisk: 2,
      ...(unacknowledgedBytes && { unacknowledgedBytes }),
      ...(writeBytes && { writeBytes }),
    },
    { signal, ...(speed && { speed }), ...(onProgress && { onProgress }) },
  );
}

export async function faultOf(action: Promise<unknown>): Promise<Fault> {
  try {
    await action;
  } catch (error) {
    return Fault.from(error);
  }
  throw new Error('no fault where one was expected');
}
