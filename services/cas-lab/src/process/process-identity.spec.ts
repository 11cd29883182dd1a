import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lockFolder } from './folder-lock.js';
import { endLeftover, livingPid, writePidFile } from './process-identity.js';

describe('a pid file', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'cas-lab-pid-'));
  });
  afterEach(async () => rm(dir, { recursive: true }));

  it('names a living process, and none when its number was given to another', async () => {
    const path = join(dir, 'pid');
    await writePidFile(path, process.pid);
    expect(await livingPid(path)).toBe(process.pid);
    await writeFile(path, (await readFile(path, 'utf8')).replace(/ .*/, ' 1'));
    expect(await livingPid(path)).toBeNull();
    expect(await livingPid(join(dir, 'absent'))).toBeNull();
  });

  it('lets the next one end what was left', async () => {
    const child = spawn('sleep', ['60']);
    const ended = new Promise((resolve) => child.once('exit', (_code, signal) => resolve(signal)));
    const path = join(dir, 'pid');
    await writePidFile(path, child.pid ?? 0);
    await endLeftover(path);
    expect(await ended).toBe('SIGTERM');
    expect(await livingPid(path)).toBeNull();
  });

  it('locks a folder against a second lab until it is given back', async () => {
    const unlock = await lockFolder(dir);
    await expect(lockFolder(dir)).rejects.toMatchObject({ code: 'CONFLICT' });
    await unlock();
    await writeFile(join(dir, 'lab.pid'), '1 0');
    await (
      await lockFolder(dir)
    )();
  });
});
