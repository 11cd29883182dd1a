import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '@casvault/contracts';
import { livingPid, writePidFile } from './process-identity.js';

/**
 * Holds a lab's folder for this process: a second lab over it would end the first one's daemons. A lock whose process is
 * gone is taken over. Throws CONFLICT. Returns what gives the lock back.
 */
export async function lockFolder(dir: string): Promise<() => Promise<void>> {
  await mkdir(dir, { recursive: true });
  const path = join(dir, 'lab.pid');
  try {
    await writePidFile(path, process.pid, true);
  } catch {
    const pid = await livingPid(path);
    if (pid !== null)
      throw new Fault('CONFLICT', `the lab in ${dir} is run by process ${String(pid)} already`);
    await writePidFile(path, process.pid);
  }
  return () => rm(path, { force: true });
}
