import { execFile } from 'node:child_process';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type LabHostInfo } from '@casvault/testkit';

const run = promisify(execFile);

export interface DiskWrite {
  /** Bytes, multiples of 512. */
  readonly offset: number;
  readonly length: number;
  /** 0: zeros, and the blocks may be given back (discard). */
  readonly pattern: number;
}

const command = ({ offset, length, pattern }: DiskWrite): string =>
  pattern === 0
    ? `write -z -u ${String(offset)} ${String(length)}`
    : `write -P ${String(pattern)} ${String(offset)} ${String(length)}`;

const ended = ({ stdout, stderr }: { stdout: string; stderr: string }): void => {
  const said = `${stdout}${stderr}`;
  if (/error|failed|invalid/i.test(said)) throw new Error(`qemu-io: ${said.trim()}`);
};

/** A daemon or monitor that answers later than this does not answer. */
const patienceMs = 60_000;

/** One command of virsh on the libvirt of the host. */
export const virshOn = (
  { env }: LabHostInfo,
  ...command: readonly string[]
): Promise<{ stdout: string; stderr: string }> => {
  const uri = `qemu+unix:///session?socket=${env['XDG_RUNTIME_DIR'] ?? ''}/libvirt/libvirt-sock`;
  return run('virsh', ['--connect', uri, ...command], { timeout: patienceMs });
};

/**
 * Writes as the guest's device does, through QEMU's own monitor: below everything that the guest's system could delay, above
 * everything that a backup puts between (bitmaps, copy before write). Flushed when it returns: a QEMU that is killed loses nothing
 * of it. All go through one connection to libvirt.
 */
export const writeAsGuest = async (
  host: LabHostInfo,
  vmUuid: string,
  diskNumber: number,
  writes: readonly DiskWrite[],
): Promise<void> => {
  const device = `/machine/peripheral/virtio-disk${String(diskNumber)}/virtio-backend`;
  const lines = [...writes.map(command), 'flush'].map(
    (line) => `qemu-monitor-command ${vmUuid} --hmp 'qemu-io -d ${device} "${line}"'`,
  );
  ended(await virshOn(host, lines.join('; ')));
};

/** The commands that have a file open. */
const holdersOf = async (path: string): Promise<string> => {
  const held: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const fds = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const fd of fds)
      if ((await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')) === path) {
        held.push((await readFile(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' '));
        break;
      }
  }
  return held.length === 0 ? 'nobody by now' : held.join('; ');
};

/** The product may have the image open for a moment, to remove a bitmap that nobody needs any more. */
const lockPatienceMs = 60_000;

/** The same to the image of a stopped machine; bitmaps in the image take notice, as of a guest. */
export const writeToImage = async (path: string, writes: readonly DiskWrite[]): Promise<void> => {
  const commands = writes.flatMap((write) => ['-c', command(write)]);
  for (const end = performance.now() + lockPatienceMs; ; await sleep(100)) {
    try {
      ended(await run('qemu-io', ['-f', 'qcow2', ...commands, path]));
      return;
    } catch (error) {
      if (!String(error).includes('Failed to get "write" lock')) throw error;
      if (performance.now() > end)
        throw new Error(`held by ${await holdersOf(path)}: ${String(error)}`, { cause: error });
    }
  }
};
