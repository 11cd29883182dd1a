import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { lstat, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { endings } from './endings.js';
import { type Figures } from './figures.js';
import { busyCpuS, processCpuS } from './machine.js';

const run = promisify(execFile);

/** Runs a command to its success; returns what it printed. */
export async function runQuietly(name: string, ...args: string[]): Promise<string> {
  const { stdout } = await run(name, args, { maxBuffer: 16 * 2 ** 20 });
  return stdout;
}

export interface TimedCommand {
  /** For the shell, so that syncing the output belongs to the time. */
  readonly script: string;
  readonly env?: Readonly<Record<string, string>>;
  /** NBD servers whose CPU is shown apart. */
  readonly servers?: readonly number[];
  /** Folder for the records of a run. */
  readonly dir: string;
}

/** Runs a script under GNU time. Fails with its last words when it does. */
export async function timed(command: TimedCommand): Promise<Omit<Figures, 'storedMiB'>> {
  const usage = join(command.dir, 'usage');
  const output = join(command.dir, 'output');
  const servers = command.servers ?? [];
  const serversBefore = sum(servers.map(processCpuS));
  const log = openSync(output, 'w');
  const busyBefore = busyCpuS();
  const begun = performance.now();
  const status = await exitOf(
    spawn('time', ['-q', '-o', usage, '-f', '%U %S %M', 'sh', '-ec', command.script], {
      env: { ...process.env, ...command.env },
      stdio: ['ignore', log, log],
      // A group of its own, so that all of it can be ended.
      detached: true,
    }),
  );
  const wallS = (performance.now() - begun) / 1000;
  const busy = busyCpuS() - busyBefore;
  closeSync(log);
  if (status !== 0) throw new Error(`${command.script}\n${await lastWords(output)}`);
  const [user = NaN, system = NaN, rssKiB = NaN] = (await readFile(usage, 'latin1')).split(' ').map(Number);
  const cpuS = user + system;
  const serverCpuS = servers.length === 0 ? null : sum(servers.map(processCpuS)) - serversBefore;
  const othersCpuS = Math.max(0, busy - cpuS - (serverCpuS ?? 0));
  return { wallS, cpuS, serverCpuS, peakRssMiB: rssKiB / 1024, readMiB: null, othersCpuS };
}

/** Status of a process that leads a group; the group ends with the run. */
async function exitOf(child: ChildProcess): Promise<number | null> {
  const kill = (): void => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL');
  };
  endings.add(kill);
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
  } finally {
    endings.drop(kill);
  }
}

async function lastWords(file: string): Promise<string> {
  return (await readFile(file, 'utf8')).slice(-2000);
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Disk space that a file or everything below a folder takes, MiB. */
export async function storedMiB(path: string): Promise<number> {
  const facts = await lstat(path);
  let total = (facts.blocks * 512) / 2 ** 20;
  if (!facts.isDirectory()) return total;
  for (const name of await readdir(path)) total += await storedMiB(join(path, name));
  return total;
}

/** Drops a file, or all files below a folder, from the page cache: whoever reads them next, reads the disk. */
export async function chill(path: string): Promise<void> {
  const drop = ['dd', 'of={}', 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0', 'status=none'];
  await runQuietly('find', path, '-type', 'f', '-exec', ...drop, ';');
}

/** Writes back what commands before left in the page cache: the disk would be busy with it while the next is timed. */
export async function writeBack(): Promise<void> {
  await runQuietly('sync');
}

/** Reads a file so that it lies in the page cache. */
export async function warm(path: string): Promise<void> {
  await runQuietly('dd', `if=${path}`, 'of=/dev/null', 'bs=1M', 'status=none');
}

/**
 * Has the kernel hold so much memory for a moment. On a virtual machine whose host takes free pages back, the first touch of a page costs
 * about 1.5 s a GiB, which would be counted against whichever command comes first.
 */
export async function touchMemory(gibibytes: number): Promise<void> {
  const script =
    'const held = []; for (let i = 0; i < +process.argv[1] * 16; i += 1) held.push(Buffer.alloc(2 ** 26, 1));';
  if (gibibytes > 0) await runQuietly(process.execPath, '-e', script, String(gibibytes));
}
