import { readFile, stat } from 'node:fs/promises';
import { findProcesses } from './process-table.js';

/** libvirt gives every QEMU the UUID of its VM on the command line. */
const isOf =
  (vmUuid: string) =>
  (argv: readonly string[]): boolean =>
    argv[argv.indexOf('-uuid') + 1]?.toLowerCase() === vmUuid.toLowerCase() && argv.includes('-uuid');

/** Field 22 of /proc/<pid>/stat, ticks since the boot; the name before it may hold spaces and brackets. */
const startOf = (line: string): string => line.slice(line.lastIndexOf(')') + 2).split(' ')[19] ?? '';

/** The run of QEMU that has the VM now: the same text as long as that process lives. `off`: there is none. */
export async function runOf(vmUuid: string): Promise<string> {
  const [qemu] = await findProcesses(isOf(vmUuid));
  if (!qemu) return 'off';
  const line = await readFile(`/proc/${String(qemu.pid)}/stat`, 'utf8').catch(() => '');
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
  return `${boot.slice(0, 8)}-${String(qemu.pid)}-${startOf(line)}`;
}

/** The file or device itself: another one put in its place under the same name has another identity. */
export async function imageIdentity(path: string): Promise<string> {
  const facts = await stat(path, { bigint: true });
  if (facts.isBlockDevice()) return `block-${String(facts.rdev)}`;
  return `${String(facts.dev)}-${String(facts.ino)}-${String(facts.birthtimeNs)}`;
}
