import { type Step } from './figures.js';
import { type Primitives } from './primitives.js';

/** The least time that a step can take on this machine, and what sets it. */
export interface Limit {
  readonly cpuS: number;
  readonly wallS: number;
  readonly bound: 'CPU' | 'disk';
}

/**
 * What C code would need for the work of each step, spread evenly over all cores; or the disk's time for what has to be read and written,
 * where that is longer. A full backup reads and hashes all data, compresses and writes it; a rescan reads and hashes; a restore reads what
 * is stored, decompresses, hashes and writes.
 */
export function limitsOf(
  primitives: Primitives,
  dataBytes: number,
  cores: number,
  encrypted: boolean,
): Readonly<Record<Exclude<Step, 'incremental' | 'unchanged'>, Limit>> {
  const data = dataBytes / 2 ** 30;
  const stored = data / primitives.ratio;
  const { nbdRead, blake3, zstd, unzstd, nbdWrite, directRead, directWrite, diskReadWall, diskWriteWall } =
    primitives;
  const cipher = encrypted ? primitives.aesGcm : 0;
  const limit = (cpuS: number, diskS: number): Limit => {
    const spread = cpuS / cores;
    return { cpuS, wallS: Math.max(spread, diskS), bound: spread >= diskS ? 'CPU' : 'disk' };
  };
  return {
    full: limit(
      data * (nbdRead + blake3 + zstd) + stored * (directWrite + cipher),
      Math.max(data * diskReadWall, stored * diskWriteWall),
    ),
    rescan: limit(data * (nbdRead + blake3), data * diskReadWall),
    restore: limit(
      stored * (directRead + cipher) + data * (unzstd + blake3 + nbdWrite),
      Math.max(stored * diskReadWall, data * diskWriteWall),
    ),
  };
}
