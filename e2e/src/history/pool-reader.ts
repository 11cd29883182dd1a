import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { type Point } from '@casvault/contracts';
import { type PatternDisk } from './pattern-disk.js';

/** Stands on the offline reader, which is written from the format document alone: no line of the product takes part in the judgement. */
const judge = fileURLToPath(new URL('../../../src/history/judge.py', import.meta.url));

/** What every disk of a point held at its instant, by target. */
export type Instant = ReadonlyMap<string, PatternDisk>;

export interface KeptPoint {
  readonly point: Pick<Point, 'id' | 'chainId'>;
  readonly instant: Instant;
}

/**
 * Reads the disks of all points out of the pool's folder, each object once, and holds them against their instants; what
 * differs, in words. Memory: 1/512 of all disks of all points, here compressed and there not.
 */
export const differences = async (poolPath: string, points: readonly KeptPoint[]): Promise<string[]> => {
  const expected = points.map(({ point, instant }) => ({
    chain: point.chainId,
    point: point.id,
    disks: Object.fromEntries([...instant].map(([target, disk]) => [target, disk.told()])),
  }));
  const child = spawn('python3', [judge, poolPath], { stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  child.stdin.on('error', () => undefined); // it died: its exit code and its words tell
  child.stdin.end(JSON.stringify(expected));
  const [found, said, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  if (code !== 0) throw new Error(`the judge ended with ${String(code)}: ${said}`);
  return JSON.parse(found) as string[];
};
