import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { requireGoing } from './body.js';
import { errnoOf } from './fs-faults.js';

const page = 4096;
/** Below it, a write through the page cache costs less than the loss of write-behind. */
const minDirectBytes = 256 * 1024;
/** Between two of them an abort is noticed. */
const stepBytes = 16 * 1024 * 1024;
const mode = 0o640;

const createFlags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
/** 0 on systems without it. */
const directFlag: number = (constants as { O_DIRECT?: number }).O_DIRECT ?? 0;

/** Writes a new file with all of the parts; its data is on stable storage when this resolves (its name is not). */
export const writeNewFile = async (
  path: string,
  parts: readonly Uint8Array[],
  signal?: AbortSignal,
): Promise<void> => {
  const direct = directPieces(parts);
  if (direct !== null && (await tryDirect(path, direct, signal))) return;
  const handle = await open(
    path,
    direct === null ? createFlags : constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC,
    mode,
  );
  try {
    await writePieces(handle, parts, signal);
    await handle.datasync();
  } finally {
    await handle.close();
  }
};

interface DirectPieces {
  readonly pieces: readonly Uint8Array[];
  readonly length: number;
}

/** The same bytes in whole pages, the last one rounded up into what follows in memory; null when they don't lie so. */
const directPieces = (parts: readonly Uint8Array[]): DirectPieces | null => {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (directFlag === 0 || length < minDirectBytes) return null;
  const pieces: Uint8Array[] = [];
  for (const [index, part] of parts.entries()) {
    const whole = Math.ceil(part.length / page) * page;
    const last = index === parts.length - 1;
    if (part.byteOffset % page !== 0 || (whole !== part.length && !last)) return null;
    if (part.byteOffset + whole > part.buffer.byteLength) return null;
    pieces.push(new Uint8Array(part.buffer, part.byteOffset, whole));
  }
  return { pieces, length };
};

/** False when the file system or the address of the memory does not allow direct writes; an empty file may be left then. */
const tryDirect = async (path: string, direct: DirectPieces, signal?: AbortSignal): Promise<boolean> => {
  let handle: FileHandle | null = null;
  try {
    handle = await open(path, createFlags | directFlag, mode);
    await writePieces(handle, direct.pieces, signal);
    await handle.truncate(direct.length);
    await handle.datasync();
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EINVAL') return false;
    throw error;
  } finally {
    await handle?.close();
  }
};

const writePieces = async (
  handle: FileHandle,
  pieces: readonly Uint8Array[],
  signal?: AbortSignal,
): Promise<void> => {
  let position = 0;
  for (const piece of pieces) {
    for (let at = 0; at < piece.length;) {
      requireGoing(signal);
      const step = Math.min(stepBytes, piece.length - at);
      const { bytesWritten } = await handle.write(piece, at, step, position);
      at += bytesWritten;
      position += bytesWritten;
    }
  }
};
