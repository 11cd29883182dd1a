import { createHash, randomUUID } from 'node:crypto';
import { constants, open, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '@casvault/contracts';
import { escapeXml, Libvirt } from '@casvault/libvirt';
import { Daemon } from '../process/daemon.js';
import { endProcess } from '../process/process-identity.js';
import { endToolProcesses } from '../process/tool-processes.js';
import { systemPath, type LabUser } from '../process/run-command.js';
import { withTempFiles } from '../process/temp-files.js';
import { type CacheType } from './domain-xml.js';
import { isReachable, makeHostFolders, type HostFolders } from './host-folders.js';

export interface DiskServicePlan {
  /** Compiled entry of this project's disk service. */
  readonly main: string;
  /** Node that runs it. */
  readonly node: string;
  readonly port: number;
  readonly token: string;
  /** Added to its environment. */
  readonly env: Readonly<Record<string, string>>;
}

export interface LabHostOptions {
  /** CVM's id of the host. */
  readonly id: number;
  readonly name: string;
  /** Loopback address that stands for the host's. */
  readonly address: string;
  readonly folders: HostFolders;
  readonly user: LabUser | undefined;
  readonly diskService: DiskServicePlan | null;
  /** Storage of all hosts: machines move between them and their disks stay. */
  readonly volumeDirs: readonly string[];
}

/** Session daemons know no cgroups, no namespaces, no log daemon; machines' disks belong to the daemon's own user. */
const qemuConf = [
  'security_driver = "none"',
  'cgroup_controllers = []',
  'namespaces = []',
  'stdio_handler = "file"',
  '',
].join('\n');

/** One emulated CVK: a libvirt daemon of its own under its own user, storage folders, and the disk service in front. */
export class LabHost {
  readonly id: number;
  readonly name: string;
  readonly address: string;
  readonly folders: HostFolders;
  readonly user: LabUser | undefined;
  readonly libvirt: Libvirt;
  /** Under which other hosts' libvirt reaches this one's. */
  readonly uri: string;
  readonly diskServicePort: number | null;
  readonly #options: LabHostOptions;
  readonly #libvirtd: Daemon;
  #diskService: Daemon | undefined;
  #directIo = true;
  #liveExport = true;

  constructor(options: LabHostOptions) {
    const { folders } = options;
    this.#options = options;
    this.id = options.id;
    this.name = options.name;
    this.address = options.address;
    this.folders = folders;
    this.user = options.user;
    this.diskServicePort = options.diskService?.port ?? null;
    this.uri = `qemu:///session?socket=${join(folders.run, 'libvirt/libvirt-sock')}`;
    this.libvirt = new Libvirt({ uri: this.uri, env: folders.env });
    this.#libvirtd = new Daemon({
      name: 'libvirtd',
      file: 'libvirtd',
      args: ['--pid-file', join(folders.run, 'libvirtd.pid')],
      env: { PATH: systemPath, ...folders.env },
      user: options.user,
      logFile: join(folders.root, 'libvirtd.log'),
      pidFile: join(folders.root, 'libvirtd.pid'),
      restartAfterMs: 500,
    });
  }

  /** Starts libvirt and, where planned, the disk service. Throws DEPENDENCY_UNAVAILABLE with libvirt's last words. */
  async start(): Promise<void> {
    await makeHostFolders(this.folders, this.user);
    await writeFile(join(this.folders.config, 'libvirt/qemu.conf'), qemuConf);
    await writeFile(
      join(this.folders.config, 'libvirt/libvirtd.conf'),
      `host_uuid = "${this.#hostUuid()}"\n`,
    );
    this.#directIo = await knowsDirectIo(this.folders.vms);
    await this.#libvirtd.start();
    await this.#untilLibvirtAnswers(30_000);
    if (this.#options.diskService) {
      this.#diskService = await this.#diskServiceDaemon(this.#options.diskService);
      await this.startDiskService();
    }
  }

  /** Ends the daemons. The machines are the caller's to stop before; one that still runs is ended hard. */
  async stop(): Promise<void> {
    await this.#diskService?.stop();
    await endToolProcesses(this.folders.root);
    await this.#libvirtd.stop();
    await this.#endMachinesLeft();
  }

  /** QEMU outlives libvirt: what runs by libvirt's own pid files when the daemon is gone. */
  async #endMachinesLeft(): Promise<void> {
    const dir = join(this.folders.run, 'libvirt/qemu/run');
    for (const file of (await readdir(dir).catch(() => [])).filter((name) => name.endsWith('.pid'))) {
      const pid = Number(await readFile(join(dir, file), 'utf8'));
      const isQemu = async (): Promise<boolean> =>
        (await readFile(`/proc/${String(pid)}/cmdline`, 'utf8').catch(() => '')).includes(
          `guest=${basename(file, '.pid')},`,
        );
      if (pid > 1 && (await isQemu())) await endProcess(pid, isQemu);
    }
  }

  /** libvirt moves machines only between hosts of different UUIDs, and all of the lab's are one computer. */
  #hostUuid(): string {
    const hex = createHash('sha256').update(this.folders.root).digest('hex');
    return [
      hex.slice(0, 8),
      hex.slice(8, 12),
      `4${hex.slice(13, 16)}`,
      `8${hex.slice(17, 20)}`,
      hex.slice(20, 32),
    ].join('-');
  }

  /** Restarts the disk service as on a host whose hypervisor has a live export, or has none. */
  async offerLiveExport(offered: boolean): Promise<void> {
    const plan = this.#options.diskService;
    if (plan === null) throw new Fault('CONFLICT', `host ${this.name} has no disk service`);
    this.#liveExport = offered;
    await this.#diskService?.stop();
    this.#diskService = await this.#diskServiceDaemon(plan);
    await this.startDiskService();
  }

  /** Makes a secret that this host's libvirt keeps, for the encrypted image at `path`. */
  async makeSecret(path: string): Promise<{ uuid: string; passphrase: string }> {
    const uuid = randomUUID();
    const passphrase = randomUUID();
    const xml =
      `<secret ephemeral='no' private='yes'><uuid>${uuid}</uuid>` +
      `<usage type='volume'><volume>${escapeXml(path)}</volume></usage></secret>`;
    await withTempFiles([xml, passphrase], async ([xmlPath = '', valuePath = '']) => {
      await this.libvirt.run(['secret-define', xmlPath]);
      await this.libvirt.run(['secret-set-value', uuid, '--file', valuePath, '--plain']);
    });
    return { uuid, passphrase };
  }

  /** Kills the disk service as a crash would; it stays down unless `comeBack`. */
  async killDiskService(comeBack: boolean): Promise<void> {
    await this.#diskService?.kill(comeBack);
  }

  /** Starts it if it is down, and waits until it answers. Throws DEPENDENCY_UNAVAILABLE with the path of its log. */
  async startDiskService(): Promise<void> {
    await this.#diskService?.start();
    const url = `http://${this.address}:${String(this.diskServicePort)}/v1/health`;
    for (let waited = 0; this.#diskService; waited += 100) {
      const answers = await fetch(url, { signal: AbortSignal.timeout(2_000) }).then(
        (reply) => reply.ok,
        () => false,
      );
      if (answers) return;
      if (waited >= 20_000) {
        const log = join(this.folders.root, 'disk-service.log');
        throw new Fault('DEPENDENCY_UNAVAILABLE', `the disk service at ${url} does not answer; see ${log}`);
      }
      await sleep(100);
    }
  }

  get diskService(): { port: number; running: boolean; restarts: number } | null {
    const plan = this.#options.diskService;
    if (!plan || !this.#diskService) return null;
    return { port: plan.port, running: this.#diskService.running, restarts: this.#diskService.restarts };
  }

  /** The wished cache mode, or the nearest that the file system below the storage can do: some know no O_DIRECT. */
  cacheMode(wished: CacheType): CacheType {
    if (this.#directIo) return wished;
    if (wished === 'directsync') return 'writethrough';
    return wished === 'none' ? 'writeback' : wished;
  }

  /** Bytes of the file system below the host's storage. */
  async capacity(path = this.folders.vms): Promise<{ totalBytes: number; freeBytes: number }> {
    const { bsize, blocks, bavail } = await statfs(path);
    return { totalBytes: bsize * blocks, freeBytes: bsize * bavail };
  }

  async #untilLibvirtAnswers(timeoutMs: number): Promise<void> {
    for (let waited = 0; ; waited += 100) {
      try {
        await this.libvirt.version();
        return;
      } catch (cause) {
        if (waited >= timeoutMs) {
          const log = join(this.folders.root, 'libvirtd.log');
          throw new Fault(
            'DEPENDENCY_UNAVAILABLE',
            `libvirt of host ${this.name} does not answer; see ${log}`,
            {
              cause,
            },
          );
        }
        await sleep(100);
      }
    }
  }

  async #diskServiceDaemon(plan: DiskServicePlan): Promise<Daemon> {
    const { folders } = this;
    const command = await commandReadableBy(this.user, [plan.node, '--no-warnings', plan.main], plan.main);
    const [file = plan.node, ...args] = command.argv;
    return new Daemon({
      name: 'disk-service',
      file,
      args,
      env: {
        PATH: systemPath,
        ...folders.env,
        ...plan.env,
        CASVAULT_DISK_SERVICE_ADDRESS: this.address,
        CASVAULT_DISK_SERVICE_PORT: String(plan.port),
        CASVAULT_DISK_SERVICE_TOKEN: plan.token,
        CASVAULT_DISK_SERVICE_LIBVIRT_URI: 'qemu:///session',
        CASVAULT_DISK_SERVICE_NBD_PORTS: '10000-30000',
        CASVAULT_DISK_SERVICE_SCRATCH_DIR: folders.scratch,
        CASVAULT_DISK_SERVICE_VOLUME_DIRS: this.#options.volumeDirs.join(':'),
        CASVAULT_DISK_SERVICE_LIVE_EXPORT: this.#liveExport ? 'on' : 'off',
        CASVAULT_DISK_SERVICE_STATE_DIR: folders.diskServiceState,
      },
      user: command.user,
      logFile: join(folders.root, 'disk-service.log'),
      pidFile: join(folders.root, 'disk-service.pid'),
      restartAfterMs: 200,
    });
  }
}

async function knowsDirectIo(dir: string): Promise<boolean> {
  const path = join(dir, '.direct-io');
  try {
    await (await open(path, constants.O_CREAT | constants.O_RDWR | constants.O_DIRECT)).close();
    return true;
  } catch {
    return false;
  } finally {
    await rm(path, { force: true });
  }
}

interface Command {
  readonly argv: readonly string[];
  readonly user: LabUser | undefined;
}

/**
 * How a program of this checkout is run as the hosts' user. A checkout below a private home is not readable for that user:
 * then setpriv drops to it with the one capability that reads past permissions.
 */
async function commandReadableBy(
  user: LabUser | undefined,
  argv: readonly string[],
  main: string,
): Promise<Command> {
  if (!user || (await isReachable(main))) return { argv, user };
  const ids = ['--reuid', String(user.uid), '--regid', String(user.gid), '--clear-groups'];
  const capability = ['--inh-caps', '+dac_override', '--ambient-caps', '+dac_override'];
  return { argv: ['setpriv', ...ids, ...capability, ...argv], user: undefined };
}
