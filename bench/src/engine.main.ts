import { mkdir } from 'node:fs/promises';
import {
  backupPoint,
  createRepository,
  removePoints,
  RestingThreads,
  restorePoint,
} from '@casvault/data-path';
import { openObjectStore } from '@casvault/object-store';
import { type EngineCall, type EngineReply } from './engine-calls.js';

/*
 * The engine in a process of its own, as a data-mover holds it: it stays up between the steps, so that its CPU and its memory can be told
 * from everybody else's.
 */

const streams = 2;
const target = 'vda';
/** Unchanged blocks compared in each incremental backup, as the product does by default. */
const sampleBlocks = 66;
/** As the product does by default: what a cut may cost (`reconnect.bufferMiB`). */
const unacknowledgedBytes = 10 * 1_048_576;
const instant = '2026-01-01T00:00:00.000Z';
const uuid = (kind: number, number: number): string =>
  `00000000-0000-7000-8${kind.toString().padStart(3, '0')}-${number.toString().padStart(12, '0')}`;
const repositoryId = uuid(1, 1);
const chainId = uuid(2, 1);
const vmId = uuid(3, 1);
const diskId = uuid(4, 1);
const pointId = (number: number): string => uuid(5, number);
const writerId = (number: number): string => uuid(6, number);
const keyOf = (encrypted: boolean) =>
  encrypted ? ({ kind: 'raw', keyId: 'bench', key: Buffer.alloc(32, 7) } as const) : null;
const { signal } = new AbortController();
let resting = new RestingThreads({ max: streams });

async function create(pool: string, encrypted: boolean): Promise<void> {
  await mkdir(pool, { recursive: true });
  const store = openObjectStore({ kind: 'fs', path: pool });
  await createRepository(store, { repositoryId, createdAt: new Date(instant), key: keyOf(encrypted) });
  await store.close();
}

async function backup(call: EngineCall & { name: 'backup' }): Promise<void> {
  const first = call.point === 1;
  const request = {
    location: { kind: 'fs', path: call.pool },
    key: keyOf(call.encrypted),
    chainId,
    pointId: pointId(call.point),
    kind: first ? 'full' : 'incremental',
    writerId: writerId(call.point),
    earlierWriters: [],
    parentPointId: first ? null : pointId(call.point - 1),
    createdAt: instant,
    facts: {
      capturedAt: instant,
      method: 'offline',
      vm: { vmId, uuid: vmId, name: 'bench', platformName: 'bench', platformVersion: 'none' },
      configuration: {},
    },
    disks: [
      {
        target,
        diskId,
        role: 'system',
        bus: 'virtio',
        format: 'qcow2',
        source: call.endpoint,
        ...(call.bitmap === null ? {} : trackedBy(call.bitmap, call.point)),
      },
    ],
    compression: { mode: 'fast' },
    disksInParallel: 1,
    streamsPerDisk: streams,
    readBytes: 1_048_576,
    unacknowledgedBytes,
  } as const;
  await backupPoint(request, { signal, resting });
}

const trackedBy = (bitmap: string, point: number) => ({
  dirtyBitmapContext: `qemu:dirty-bitmap:${bitmap}`,
  tracking: { sampleBlocks, sweepPart: null, seed: Buffer.alloc(32, point) },
});

/** Bytes written. */
async function remove(call: EngineCall & { name: 'remove' }): Promise<number> {
  const store = openObjectStore({ kind: 'fs', path: call.pool });
  const { writtenBytes } = await removePoints(
    store,
    { chainId, pointIds: [pointId(call.point)] },
    { signal },
  );
  await store.close();
  return writtenBytes;
}

async function restore(call: EngineCall & { name: 'restore' }): Promise<void> {
  const request = {
    location: { kind: 'fs', path: call.pool },
    key: keyOf(call.encrypted),
    chainId,
    pointId: pointId(call.point),
    disks: [{ target, destination: call.endpoint, fresh: true }],
    disksInParallel: 1,
    streamsPerDisk: streams,
    unacknowledgedBytes,
  } as const;
  await restorePoint(request, { signal, resting });
}

async function cool(): Promise<void> {
  await resting.close();
  resting = new RestingThreads({ max: streams });
}

async function perform(call: EngineCall): Promise<number | null> {
  if (call.name === 'remove') return remove(call);
  if (call.name === 'cool') await cool();
  else if (call.name === 'create') await create(call.pool, call.encrypted);
  else if (call.name === 'backup') await backup(call);
  else await restore(call);
  return null;
}

process.on('message', (call: EngineCall) => {
  const begun = performance.now();
  const cpu = process.cpuUsage();
  void perform(call).then(
    (writtenBytes) => reply(null, writtenBytes),
    (error: unknown) => reply(error instanceof Error ? String(error.stack) : String(error), null),
  );
  const reply = (error: string | null, writtenBytes: number | null): void => {
    const { user, system } = process.cpuUsage(cpu);
    const answer: EngineReply = {
      error,
      writtenBytes,
      wallS: (performance.now() - begun) / 1000,
      cpuS: (user + system) / 1e6,
    };
    process.send?.(answer);
  };
});
process.once('disconnect', () => process.exit());
