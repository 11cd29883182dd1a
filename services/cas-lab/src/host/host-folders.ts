import { createHash } from 'node:crypto';
import { chmod, chown, mkdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type LabUser } from '../process/run-command.js';

/** Where one host keeps everything; `env` makes a libvirt session daemon of its own out of it. */
export interface HostFolders {
  readonly root: string;
  /** What `/vms` is on a CVK: one folder per storage pool. */
  readonly vms: string;
  readonly run: string;
  readonly config: string;
  readonly cache: string;
  readonly scratch: string;
  readonly diskServiceState: string;
  readonly env: Readonly<Record<string, string>>;
}

export function hostFolders(hostsDir: string, name: string): HostFolders {
  const root = join(hostsDir, name);
  const at = (folder: string): string => join(root, folder);
  return {
    root,
    vms: at('vms'),
    run: at('r'),
    config: at('c'),
    cache: at('cache'),
    scratch: at('scratch'),
    diskServiceState: at('disk-service'),
    env: {
      HOME: root,
      XDG_RUNTIME_DIR: at('r'),
      XDG_CONFIG_HOME: at('c'),
      XDG_CACHE_HOME: at('cache'),
      // A client that comes after the daemon has stopped must not start another one.
      LIBVIRT_AUTOSTART: '0',
    },
  };
}

export async function makeHostFolders(folders: HostFolders, user: LabUser | undefined): Promise<void> {
  const { root, vms, run, config, cache, scratch, diskServiceState } = folders;
  for (const dir of [root, vms, run, config, join(config, 'libvirt'), cache, scratch, diskServiceState]) {
    await mkdir(dir, { recursive: true });
    if (user) await chown(dir, user.uid, user.gid);
  }
  await chmod(run, 0o700);
}

/**
 * The longest socket that libvirt makes below a host's folder: QEMU's monitor. The kernel takes 107 characters; domain
 * numbers of four digits and libvirt's short names of twenty characters are allowed for.
 */
const longestSocket = '/cvk00/c/libvirt/qemu/lib/domain-1000-12345678901234567890/monitor.sock';
export const fitsSockets = (dir: string): boolean => dir.length + longestSocket.length <= 107;

/** Every folder on the way, and the thing itself, lets any user pass. Folders still to be made do not hinder. */
export async function isReachable(dir: string): Promise<boolean> {
  for (let at = dir; ; at = dirname(at)) {
    const found = await stat(at).catch(() => null);
    const needed = found?.isDirectory() === true ? 0o001 : 0o004;
    if (found && (found.mode & needed) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

/**
 * Where the hosts' folders go: below the lab's folder when sockets fit and the hosts' user can reach it, else in a
 * folder of `/var/tmp` that is named after it, so that the next start finds the same one.
 */
export async function chooseHostsDir(labDir: string, user: LabUser | undefined): Promise<string> {
  const reachable = user === undefined || (await isReachable(labDir));
  if (fitsSockets(labDir) && reachable) return labDir;
  return `/var/tmp/cas-lab-${createHash('sha256').update(labDir).digest('hex').slice(0, 8)}`;
}
