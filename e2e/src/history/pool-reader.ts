import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Point } from '@casvault/contracts';
import { type PatternDisk } from './pattern-disk.js';

const run = promisify(execFile);
/** Written from the format document alone: no line of the product takes part in the judgement. */
const reader = fileURLToPath(new URL('../../../../tools/offline-reader/restore.py', import.meta.url));

/** What every disk of a point held at its instant, by target. */
export type Instant = ReadonlyMap<string, PatternDisk>;

/** Reads every disk of a point out of the pool's folder and holds it against its instant; what differs, in words. */
export const differences = async (
  poolPath: string,
  point: Point,
  instant: Instant,
  scratchDir: string,
): Promise<string[]> => {
  const found: string[] = [];
  const targets = point.disks.map(({ target }) => target);
  if (targets.sort().join() !== [...instant.keys()].sort().join())
    found.push(`point ${point.id} holds ${targets.join()}, not ${[...instant.keys()].join()}`);
  for (const [target, wanted] of instant) {
    const out = join(scratchDir, `${point.id}-${target}.raw`);
    try {
      await run('python3', [reader, 'restore', poolPath, point.chainId, point.id, target, out]);
      const difference = await wanted.differenceFrom(out);
      if (difference !== null) found.push(`point ${point.id}, ${target}: ${difference}`);
    } catch (error) {
      found.push(`point ${point.id}, ${target}: ${(error as Error).message}`);
    } finally {
      await rm(out, { force: true });
    }
  }
  return found;
};
