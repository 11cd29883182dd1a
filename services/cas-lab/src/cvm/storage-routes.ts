import { readdir, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { createImage, imageInfo, type ImageFormat, type Layout } from '../host/disk-images.js';
import { makePoolFolder } from '../platform/machines.js';
import { type StoragePoolRecord } from '../platform/state.js';
import { CasError, casErrorCodes } from '../rest/cas-error.js';
import { asNumber, asText } from '../rest/request-body.js';
import { type Fields } from '../rest/shape.js';
import { hostById } from './host-routes.js';
import { type Platform } from './platform.js';
import { del, done, get, list, one, page, post, verdict, type CasCall, type Route } from './route.js';

const MiB = 1_048_576;
const refuse = (message: string): CasError => new CasError(casErrorCodes.unknown, message);

/** Throws "no such pool". */
export function findPool(
  platform: Platform,
  hostId: string | undefined,
  name: string | undefined,
): StoragePoolRecord {
  const host = hostById(platform, hostId);
  const found = platform.state.storagePools.find((pool) => pool.hostId === host.id && pool.name === name);
  if (!found) throw refuse(`存储池 ${name ?? ''} 不存在。`);
  return found;
}

/** Bytes of the pool and what is free: of its file system, or of the quota that stands for a small store. */
async function capacityOf(platform: Platform, pool: StoragePoolRecord) {
  const real = await platform.machines.host(pool.hostId).capacity(pool.path);
  let allocated = 0;
  for (const name of await volumeNames(pool)) {
    allocated += (await stat(join(pool.path, name))).blocks * 512;
  }
  const total = pool.quotaBytes ?? real.totalBytes;
  const free = Math.max(0, Math.min(real.freeBytes, total - allocated));
  return { total, free: pool.quotaBytes === null ? real.freeBytes : free, allocated };
}

async function volumeNames(pool: StoragePoolRecord): Promise<string[]> {
  const entries = await readdir(pool.path, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
}

async function poolFields(platform: Platform, pool: StoragePoolRecord): Promise<Fields> {
  const { total, free, allocated } = await capacityOf(platform, pool);
  return {
    name: pool.name,
    title: pool.title,
    path: pool.path,
    type: pool.type,
    totalSize: Math.floor(total / MiB),
    freeSize: Math.floor(free / MiB),
    allocation: Math.floor(allocated / MiB),
    status: pool.active ? 1 : 0,
    autoStart: 1,
  };
}

async function poolList(platform: Platform, hostId: string | undefined): Promise<Fields[]> {
  const host = hostById(platform, hostId);
  const rows: Fields[] = [];
  for (const pool of platform.state.storagePools.filter((one) => one.hostId === host.id)) {
    rows.push(await poolFields(platform, pool));
  }
  return rows;
}

/** Names of the machines whose disk a file is, by the file. */
async function usersOfFiles(platform: Platform, hostId: number): Promise<ReadonlyMap<string, string>> {
  const users = new Map<string, string>();
  for (const vm of platform.machines.all.filter((one) => one.hostId === hostId)) {
    for (const disk of (await platform.machines.facts(vm)).disks) users.set(disk.path, vm.name);
  }
  return users;
}

async function volumeFields(path: string, user: string | undefined): Promise<Fields> {
  const info = await imageInfo(path);
  return {
    name: basename(path),
    path,
    size: Math.round(info.sizeBytes / MiB),
    allocation: Math.round(info.allocatedBytes / MiB),
    format: info.format,
    type: 'file',
    users: user,
    backingStore: info.backingFile ?? undefined,
    baseFile: info.backingFile ?? undefined,
    level: 0,
    isTempImg: 0,
  };
}

async function listVolumes({ query, platform }: CasCall): Promise<Fields[]> {
  const pool = findPool(platform, query['hostId'], query['poolName']);
  const wanted = query['volumeName'];
  const names = (await volumeNames(pool)).filter((name) => wanted === undefined || name === wanted);
  const users = await usersOfFiles(platform, pool.hostId);
  const rows: Fields[] = [];
  for (const name of page(names.sort(), query)) {
    const path = join(pool.path, name);
    rows.push(await volumeFields(path, users.get(path)));
  }
  return rows;
}

interface NewVolume {
  readonly name: string;
  readonly sizeMiB: number;
  readonly format: ImageFormat;
  /** Default `off`. */
  readonly layout?: Layout;
}

/** A raw volume is provisioned whole; a qcow2 one may be thin, and larger than what is free, but needs room for its tables. */
const roomFor = ({ format, sizeMiB, layout = 'off' }: NewVolume): number =>
  format === 'raw' || layout !== 'off' ? sizeMiB * MiB : MiB;

/** Makes an empty volume in a pool; refused when the pool is off or too full for it. Its path. */
export async function addVolume(
  platform: Platform,
  pool: StoragePoolRecord,
  volume: NewVolume,
): Promise<string> {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(volume.name))
    throw refuse(`存储卷名称 ${volume.name} 不合法。`);
  if (!(volume.sizeMiB > 0)) throw refuse('存储卷容量不合法。');
  if (!pool.active) throw refuse(`存储池 ${pool.name} 未启动。`);
  const { free } = await capacityOf(platform, pool);
  if (roomFor(volume) > free) throw refuse(`存储池 ${pool.name} 可用空间不足。`);
  const path = join(pool.path, volume.name);
  const { user } = platform.machines.host(pool.hostId);
  await createImage(path, volume.format, volume.sizeMiB * MiB, user, volume.layout);
  return path;
}

async function addVolumeCall({ body, platform }: CasCall) {
  const pool = findPool(platform, asText(body['hostId']), asText(body['spName']));
  const format = asText(body['format']) === 'raw' ? 'raw' : 'qcow2';
  await addVolume(platform, pool, {
    name: asText(body['volName']) ?? '',
    sizeMiB: asNumber(body['capacity']) ?? 0,
    format,
  });
  return done;
}

async function deleteVolume({ params, platform }: CasCall) {
  const pool = findPool(platform, params['hostId'], params['pool']);
  const path = join(pool.path, basename(params['volume'] ?? ''));
  const user = (await usersOfFiles(platform, pool.hostId)).get(path);
  if (user !== undefined) throw refuse(`存储卷正在被虚拟机 ${user} 使用。`);
  if (!(await volumeNames(pool)).includes(basename(path))) throw refuse('存储卷不存在。');
  await rm(path);
  return done;
}

async function setActive({ query, platform }: CasCall, active: boolean) {
  const pool = findPool(platform, query['id'], query['poolName']);
  pool.active = active;
  await platform.file.save();
  return verdict(0, '');
}

/** A new pool begins stopped, whatever was asked. */
async function addPool({ body, platform }: CasCall) {
  const host = hostById(platform, asText(body['hostId']));
  const name = asText(body['name']) ?? '';
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(name)) return verdict(casErrorCodes.unknown, '存储池名称不合法。');
  const { storagePools } = platform.state;
  if (storagePools.some((pool) => pool.hostId === host.id && pool.name === name)) {
    return verdict(casErrorCodes.unknown, '存储池已经存在。');
  }
  const pool: StoragePoolRecord = {
    hostId: host.id,
    name,
    title: asText(body['title']) ?? name,
    type: asText(body['type']) === 'netfs' ? 'netfs' : 'dir',
    path: join(host.folders.vms, name),
    active: false,
    quotaBytes: null,
  };
  await makePoolFolder(pool.path, host);
  storagePools.push(pool);
  await platform.file.save();
  return verdict(0, '');
}

async function deletePool({ query, platform }: CasCall) {
  const pool = findPool(platform, query['id'], query['poolName']);
  if (pool.active) return verdict(casErrorCodes.unknown, '存储池正在运行。');
  const { storagePools } = platform.state;
  storagePools.splice(storagePools.indexOf(pool), 1);
  await platform.file.save();
  return verdict(0, '');
}

/** Storage pools and their volumes. Starting and stopping are calls with GET, as on a CVM. */
export const storageRoutes: Route[] = [
  get('/storage/pool', async ({ query, platform }) =>
    list('storagePool', await poolList(platform, query['hostId'])),
  ),
  get('/storage/queryStoragePoolList', async ({ query, platform }) =>
    list('storagePool', page(await poolList(platform, query['id']), query)),
  ),
  get('/host/id/:id/storage', async ({ params, platform }) =>
    list('storagePool', await poolList(platform, params['id'])),
  ),
  get('/storage/info', async ({ query, platform }) =>
    one(
      'storagePool',
      await poolFields(platform, findPool(platform, query['hostId'] ?? query['id'], query['poolName'])),
    ),
  ),
  get('/storage/start', async (call) => await setActive(call, true)),
  get('/storage/stop', async (call) => await setActive(call, false)),
  get('/storage/refresh', ({ query, platform }) => {
    findPool(platform, query['id'], query['poolName']);
    return verdict(0, '');
  }),
  post('/storage/add', addPool),
  del('/storage/delete', deletePool),
  get('/storage/volume', async (call) => list('storageVolume', await listVolumes(call))),
  post('/storage/volume/add', addVolumeCall),
  post('/storage/volume', addVolumeCall),
  del('/storage/volume/delete/:hostId/:pool/:volume', deleteVolume),
];
