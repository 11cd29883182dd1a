import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { missingObject, planRead, type ReadPlan, requireGoing, shortObject } from './body.js';
import { errnoOf } from './fs-faults.js';
import { type GetOptions } from './object-store.js';

const page = 4096;
const minDirectBytes = 1024 * 1024;
const stepBytes = 16 * 1024 * 1024;
const directFlag: number = (constants as { O_DIRECT?: number }).O_DIRECT ?? 0;

/** Reads a file, or a range of it; ENOENT is thrown as it comes. */
export const readFile = async (path: string, key: string, options: GetOptions): Promise<Uint8Array> => {
  const handle = await open(path, constants.O_RDONLY);
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw missingObject(key);
    const plan = planRead(key, found.size, options);
    const into = options.into ?? new Uint8Array(plan.length);
    const room = directRoom(plan, into);
    if (room !== null && (await readDirect(path, key, plan, room, options.signal)))
      return into.subarray(0, plan.length);
    await readPlan(handle, key, plan, into.subarray(0, plan.length), options.signal);
    return into.subarray(0, plan.length);
  } finally {
    await handle.close();
  }
};

/** The destination in whole pages, if it can take them. */
const directRoom = (plan: ReadPlan, into: Uint8Array): Uint8Array | null => {
  const whole = Math.ceil(plan.length / page) * page;
  const fits = into.byteOffset % page === 0 && plan.offset % page === 0 && whole <= into.length;
  return directFlag !== 0 && plan.length >= minDirectBytes && fits ? into.subarray(0, whole) : null;
};

/** False when the file system or the address of the memory does not allow direct reads. */
const readDirect = async (
  path: string,
  key: string,
  plan: ReadPlan,
  room: Uint8Array,
  signal?: AbortSignal,
): Promise<boolean> => {
  let handle: FileHandle | null = null;
  try {
    handle = await open(path, constants.O_RDONLY | directFlag);
    await readPlan(handle, key, plan, room, signal);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EINVAL') return false;
    throw error;
  } finally {
    await handle?.close();
  }
};

/** Fills at least the first `plan.length` bytes of `room`. */
const readPlan = async (
  handle: FileHandle,
  key: string,
  plan: ReadPlan,
  room: Uint8Array,
  signal?: AbortSignal,
): Promise<void> => {
  for (let at = 0; at < plan.length;) {
    requireGoing(signal);
    const step = Math.min(stepBytes, room.length - at);
    const { bytesRead } = await handle.read(room, at, step, plan.offset + at);
    if (bytesRead === 0) throw shortObject(key, plan.offset + at, plan);
    at += bytesRead;
  }
};
