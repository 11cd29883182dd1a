import { execFile } from 'node:child_process';
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

const ended = (output: string): void => {
  if (/error|failed|invalid/i.test(output)) throw new Error(`qemu-io: ${output.trim()}`);
};

/**
 * Writes as the guest's device does, through QEMU's own monitor: below everything that the guest's system could delay, above
 * everything that a backup puts between (bitmaps, copy before write). Complete, and on disk, when it returns.
 */
export const writeAsGuest = async (
  host: LabHostInfo,
  vmUuid: string,
  diskNumber: number,
  writes: readonly DiskWrite[],
): Promise<void> => {
  const socket = `${host.env['XDG_RUNTIME_DIR'] ?? ''}/libvirt/libvirt-sock`;
  const device = `/machine/peripheral/virtio-disk${String(diskNumber)}/virtio-backend`;
  for (const write of writes) {
    const line = `qemu-io -d ${device} "${command(write)}"`;
    const { stdout } = await run('virsh', [
      '--connect',
      `qemu+unix:///session?socket=${socket}`,
      'qemu-monitor-command',
      vmUuid,
      '--hmp',
      line,
    ]);
    ended(stdout);
  }
};

/** The same to the image of a stopped machine; bitmaps in the image take notice, as of a guest. */
export const writeToImage = async (path: string, writes: readonly DiskWrite[]): Promise<void> => {
  const commands = writes.flatMap((write) => ['-c', command(write)]);
  const { stdout } = await run('qemu-io', ['-f', 'qcow2', ...commands, path]);
  ended(stdout);
};
