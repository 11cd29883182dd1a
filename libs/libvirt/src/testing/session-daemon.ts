import { chown, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { Libvirt } from '../libvirt.js';

/** A libvirt daemon of its own under one folder, with a user of its own: it sees nothing of the host's other domains. */
export interface SessionDaemon {
  readonly libvirt: Libvirt;
  readonly uri: string;
  /** Who the daemon and its QEMU processes are: disks must be theirs. Undefined: the user of this process. */
  readonly runAs: { readonly uid: number; readonly gid: number } | undefined;
  /** Kills the daemon alone; its VMs run on. */
  kill(): Promise<void>;
  /** Starts it again after `kill`. */
  revive(): Promise<void>;
  /** Powers off all domains and ends the daemon. */
  stop(): Promise<void>;
}

const nobody = { uid: 65534, gid: 65534 };
const baseConf = [
  'security_driver = "none"',
  'cgroup_controllers = []',
  'namespaces = []',
  'stdio_handler = "file"',
];

/**
 * Starts it. As root it runs as `nobody`, because root's daemon is always the system's one. `dir` must be short (sockets
 * below it have at most 107 characters in their path) and reachable for that user.
 */
export async function startSessionDaemon(
  dir: string,
  options: { /** More lines of qemu.conf. */ readonly qemuConf?: readonly string[] } = {},
): Promise<SessionDaemon> {
  const runAs = process.getuid?.() === 0 ? nobody : undefined;
  const at = (name: string): string => join(dir, name);
  for (const path of [dir, at('run'), at('config'), at('config/libvirt'), at('cache')]) {
    await mkdir(path, { recursive: true });
    if (runAs) await chown(path, runAs.uid, runAs.gid);
  }
  const conf = [...baseConf, ...(options.qemuConf ?? []), ''].join('\n');
  await writeFile(at('config/libvirt/qemu.conf'), conf);
  const launch = () =>
    execa('/usr/sbin/libvirtd', [], {
      env: {
        HOME: dir,
        XDG_RUNTIME_DIR: at('run'),
        XDG_CONFIG_HOME: at('config'),
        XDG_CACHE_HOME: at('cache'),
      },
      ...(runAs ?? {}),
      reject: false,
      stdio: 'ignore',
    });
  let daemon = launch();
  const uri = `qemu:///session?socket=${at('run/libvirt/libvirt-sock')}`;
  const libvirt = new Libvirt({ uri });
  await untilReady(libvirt);
  const kill = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<void> => {
    daemon.kill(signal);
    await daemon;
  };
  return {
    libvirt,
    uri,
    runAs,
    kill: () => kill('SIGKILL'),
    revive: async () => {
      daemon = launch();
      await untilReady(libvirt);
    },
    stop: async () => {
      for (const domain of await libvirt.domains()) {
        if (domain.state !== 'shut-off') await libvirt.destroy(domain.uuid);
      }
      await kill('SIGTERM');
    },
  };
}

async function untilReady(libvirt: Libvirt): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await libvirt.version();
      return;
    } catch (error) {
      if (attempt >= 600) throw error;
      await delay(100);
    }
  }
}
