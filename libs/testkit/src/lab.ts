import { chmod, mkdir, readFile, rm, rmdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { spawnService, type RunningProcess } from './process.js';

/** A machine to be made, as `services/cas-lab` takes it; what is absent has the lab's defaults. */
export interface LabVmPlan {
  readonly name: string;
  readonly title?: string;
  /** CVM's id of the host, from 1. */
  readonly host?: number;
  readonly memoryMiB?: number;
  readonly cpuCount?: number;
  readonly disks: readonly LabDiskPlan[];
  readonly nics?: number;
  /** Default true. */
  readonly running?: boolean;
  /** Default `linux`; `idle` is up within a second, writes nothing, and hears its power button. */
  readonly guest?: 'linux' | 'idle';
  /** Null or absent: the guest writes nothing. */
  readonly workload?: WorkloadRates | null;
}
export interface LabDiskPlan {
  /** A multiple of 512. */
  readonly sizeBytes: number;
  readonly format?: 'qcow2' | 'raw';
  readonly bus?: 'virtio' | 'scsi' | 'ide';
  readonly cache?: 'directsync' | 'writeback' | 'writethrough' | 'none';
  readonly pool?: string;
  /** Bytes of realistic content, spread over the disk; the same for the same `seed`, which is made of the VM's and the disk's names where absent. */
  readonly dataBytes?: number;
  readonly seed?: number;
  /** R4; default dependent. */
  readonly mode?: 'dependent' | 'independent-persistent';
  /** A qcow2 image encrypted with LUKS (R2), without content. */
  readonly encrypted?: boolean;
}
export interface WorkloadRates {
  readonly pairsPerSecond?: number;
  readonly bulkKiBPerSecond?: number;
}

export interface LabVm {
  readonly id: number;
  readonly uuid: string;
  readonly name: string;
  readonly hostId: number;
  readonly state: 'running' | 'shutOff' | 'paused' | 'unknown';
  readonly isTemplate: boolean;
  readonly disks: readonly {
    readonly target: string;
    readonly path: string;
    readonly format: 'qcow2' | 'raw';
    readonly bus: string;
    readonly sizeBytes: number;
  }[];
}

export interface WorkloadStatistics {
  /** The last number written to both disks. */
  readonly number: number;
  readonly pairs: number;
  readonly bulkBytes: number;
  readonly discards: number;
  readonly errors: number;
  readonly disks: number;
  readonly running: boolean;
}

/** A disk that somebody adds to a machine; what is absent is virtio, qcow2, `defaultpool`, dependent. */
export interface LabNewDisk {
  /** Whole MiB. */
  readonly sizeBytes: number;
  readonly bus?: 'virtio' | 'scsi' | 'ide';
  readonly format?: 'qcow2' | 'raw';
  readonly mode?: 'dependent' | 'independent-persistent';
}

/** `memory` and `internal` lie in the images, with and without the guest's memory; `external` is a new layer. */
export interface LabSnapshot {
  readonly name: string;
  readonly description: string;
  readonly kind: 'memory' | 'internal' | 'external';
}

/** What a backup or a restore may have left on a host; all empty: nothing. */
export interface LabLeftovers {
  readonly jobs: string[];
  readonly checkpoints: string[];
  readonly bitmaps: string[];
  readonly scratchFiles: string[];
  readonly listeningPorts: number[];
  readonly processes: string[];
  readonly looseVolumes: string[];
}

export interface LabSettings {
  readonly release: 'E0306' | 'E0710' | 'E0730' | 'E0760' | 'E0780';
  readonly stringValues: boolean;
  readonly singleAsObject: boolean;
  readonly digestQop: boolean;
  readonly latencyMs: number;
  readonly taskDelayMs: number;
  /** How long a task of the CVM waits for a guest to shut down. */
  readonly guestStopMs: number;
  /** Whether the list of VMs has templates too. */
  readonly templatesInVmList: boolean;
  readonly wrongShape: 'web-page' | 'cut-short' | 'other-object' | 'server-error' | null;
  readonly cpuModel: string | null;
}

export interface LabHostInfo {
  readonly id: number;
  readonly name: string;
  readonly address: string;
  /** Everything of the host lies below it; `vms` holds a folder for each storage pool. */
  readonly root: string;
  readonly vms: string;
  /** With it, `virsh -c qemu:///session` speaks to the host's libvirt. */
  readonly env: Readonly<Record<string, string>>;
}

interface Ready {
  readonly release: string;
  readonly cvm: { readonly address: string; readonly port: number; readonly tlsPort: number | null };
  readonly admin: string;
  readonly user: string;
  readonly password: string;
  readonly viewer: { readonly name: string; readonly password: string };
  readonly diskService: { readonly port: number; readonly token: string } | null;
  readonly hosts: readonly LabHostInfo[];
  readonly vms: readonly { id: number; uuid: string; name: string; hostId: number }[];
}

/** A running lab: an emulated CAS with real machines (services/cas-lab), as a child process. */
export interface Lab {
  readonly dir: string;
  readonly cvm: Ready['cvm'] & { readonly user: string; readonly password: string };
  /** An account that is no administrator. */
  readonly viewer: Ready['viewer'];
  readonly diskService: Ready['diskService'];
  readonly hosts: readonly LabHostInfo[];
  /** Machines that were there at the start. */
  readonly vms: Ready['vms'];
  readonly admin: LabAdmin;
  readonly process: RunningProcess;
  /** Stops guests and daemons; the next lab over the same folder has the same machines. */
  stop(): Promise<void>;
  /** Stops it and removes its folders. */
  remove(): Promise<void>;
}

export interface LabOptions {
  readonly dir: string;
  readonly hosts?: number;
  /** Third octet of its loopback addresses; absent: one that is free. */
  readonly net?: number;
  readonly release?: LabSettings['release'];
  /** The machines of a new lab; absent: one of two disks under load. */
  readonly vms?: readonly LabVmPlan[];
  /** Default: where the disk service is built. */
  readonly diskService?: boolean;
  readonly diskServiceToken?: string;
  readonly env?: Readonly<Record<string, string>>;
}

const labMain = fileURLToPath(new URL('../../../../services/cas-lab/dist/src/main.js', import.meta.url));
/** The first start downloads the guest's kernel; each machine boots in software. */
const startTimeoutMs = 180_000;
const stopTimeoutMs = 60_000;
const cvmPort = 8080;

/** Starts the lab in `dir`, or takes up the one that was there, and waits until its machines run. */
export const startLab = async (options: LabOptions): Promise<Lab> => {
  const { dir } = options;
  // Other users pass: the hosts of a lab that root started run as one of their own.
  await mkdir(dir, { recursive: true });
  await chmod(dir, 0o755);
  const process = spawnService(labMain, {
    env: { ...(await environmentOf(options)), ...options.env },
    logFile: join(dir, 'lab.log'),
  });
  try {
    await process.sees(/^\{"ready":true.*\}\n/m, startTimeoutMs);
  } catch (error) {
    await process.stop(stopTimeoutMs);
    throw error;
  }
  const ready = JSON.parse(/^\{"ready":true.*\}$/m.exec(process.output)?.[0] ?? '{}') as Ready;
  const token = ready.diskService?.token ?? options.diskServiceToken ?? '';
  const stop = async (): Promise<void> => {
    await process.stop(stopTimeoutMs);
  };
  return {
    dir,
    cvm: { ...ready.cvm, user: ready.user, password: ready.password },
    viewer: ready.viewer,
    diskService: ready.diskService && { ...ready.diskService, token },
    hosts: ready.hosts,
    vms: ready.vms,
    admin: new LabAdmin(ready.admin),
    process,
    stop,
    remove: async () => {
      await stop();
      for (const host of ready.hosts) await rm(host.root, { recursive: true, force: true });
      // Below `dir`, or beside it where the hosts' user could not get there.
      await rmdir(dirname(ready.hosts[0]?.root ?? dir)).catch(() => undefined);
      await rm(dir, { recursive: true, force: true });
    },
  };
};

const environmentOf = async (options: LabOptions): Promise<Record<string, string>> => ({
  CASVAULT_LAB_DIR: options.dir,
  CASVAULT_LAB_NET: String(options.net ?? (await keptNet(options.dir)) ?? (await freeNet())),
  ...(options.hosts === undefined ? {} : { CASVAULT_LAB_HOSTS: String(options.hosts) }),
  ...(options.release === undefined ? {} : { CASVAULT_LAB_RELEASE: options.release }),
  ...(options.vms === undefined ? {} : { CASVAULT_LAB_VMS: JSON.stringify(options.vms) }),
  ...(options.diskService === undefined
    ? {}
    : { CASVAULT_LAB_DISK_SERVICE: options.diskService ? 'on' : 'off' }),
  ...(options.diskServiceToken === undefined
    ? {}
    : { CASVAULT_LAB_DISK_SERVICE_TOKEN: options.diskServiceToken }),
});

/** The network of a lab that has been in `dir` before: its hosts keep their addresses. */
const keptNet = async (dir: string): Promise<number | null> => {
  const text = await readFile(join(dir, 'platform.json'), 'utf8').catch(() => null);
  if (text === null) return null;
  const { hosts } = JSON.parse(text) as { hosts: { address: string }[] };
  return Number(hosts[0]?.address.split('.')[2]);
};

/** The third octet of loopback addresses on which no CVM listens yet. */
const freeNet = async (): Promise<number> => {
  for (let net = 20 + Math.floor(Math.random() * 200); ; net = (net % 250) + 1) {
    if (await canListen(`127.0.${String(net)}.10`)) return net;
  }
};
const canListen = (address: string): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(cvmPort, address, () => server.close(() => resolve(true)));
  });

/** The lab's own interface: what a test or a demo steers it with. Throws Error with the lab's words. */
export class LabAdmin {
  constructor(readonly url: string) {}

  async vms(): Promise<LabVm[]> {
    return (await this.#call<{ items: LabVm[] }>('GET', '/vms')).items;
  }
  async vm(id: number): Promise<LabVm> {
    return await this.#call('GET', `/vms/${String(id)}`);
  }
  /** Makes a machine with its content; running, and its workload too, when the plan says so. */
  async createVm(plan: LabVmPlan): Promise<LabVm> {
    return await this.#call('POST', '/vms', plan);
  }
  /** Powers it off, forgets it and removes its disks. */
  async deleteVm(id: number): Promise<void> {
    await this.#call('DELETE', `/vms/${String(id)}`);
  }
  async power(id: number, verb: 'start' | 'shutDown' | 'powerOff' | 'suspend' | 'resume'): Promise<LabVm> {
    return await this.#call('PUT', `/vms/${String(id)}/power`, { verb });
  }
  /** SIGKILL to the machine's QEMU: nothing is flushed, images are left open. */
  async kill(id: number): Promise<LabVm> {
    return await this.#call('PUT', `/vms/${String(id)}/kill`, {});
  }
  /** True: the guest does not hear its power button, until it is false again or the lab is started anew. */
  async ignoreShutdown(id: number, ignored: boolean): Promise<void> {
    await this.#call('PUT', `/vms/${String(id)}/shutdown-ignored`, { ignored });
  }
  /** Adds an empty disk. A running machine gets one on SCSI or IDE at its next boot (R10). */
  async attachDisk(id: number, disk: LabNewDisk): Promise<{ target: string; path: string }> {
    const { sizeBytes, bus, format, mode } = disk;
    const row = { sizeBytes, targetBus: bus, driveType: format, diskMode: mode };
    return await this.#call('POST', `/vms/${String(id)}/disks`, row);
  }
  /** Running machines too; QEMU shrinks no running one's disk. A multiple of 512. */
  async resizeDisk(id: number, target: string, sizeBytes: number): Promise<LabVm> {
    return await this.#call('PUT', `/vms/${String(id)}/disks/${target}`, { sizeBytes });
  }
  /** Moves it to another host, live when it runs. The hosts share storage: its disks stay. libvirt's checkpoint records do not follow. */
  async migrate(id: number, hostId: number): Promise<LabVm> {
    return await this.#call('PUT', `/vms/${String(id)}/host`, { hostId });
  }
  /** All snapshots, whoever made them, oldest first. */
  async snapshots(id: number): Promise<LabSnapshot[]> {
    return (await this.#call<{ items: LabSnapshot[] }>('GET', `/vms/${String(id)}/snapshots`)).items;
  }
  /** A snapshot by somebody else. An external one is refused over images that hold internal ones. */
  async createSnapshot(
    id: number,
    snapshot: Pick<LabSnapshot, 'name' | 'kind'> & { readonly description?: string },
  ): Promise<void> {
    await this.#call('POST', `/vms/${String(id)}/snapshots`, snapshot);
  }
  /** Of an external one the layer is merged back. */
  async deleteSnapshot(id: number, name: string): Promise<void> {
    await this.#call('DELETE', `/vms/${String(id)}/snapshots/${name}`);
  }
  /** With memory at any time; `internal` of a machine that is shut off; never `external`. Bitmaps in the images hinder it. */
  async revertSnapshot(id: number, name: string): Promise<void> {
    await this.#call('PUT', `/vms/${String(id)}/snapshots/${name}/revert`, {});
  }
  /** The guest's last report; waits for the first one after a boot. */
  async workload(id: number): Promise<WorkloadStatistics> {
    return await this.#call('GET', `/vms/${String(id)}/workload`);
  }
  async startWorkload(id: number, rates: WorkloadRates = {}): Promise<WorkloadStatistics> {
    return await this.#call('PUT', `/vms/${String(id)}/workload`, { running: true, ...rates });
  }
  /** What the disks hold after it stays as it is. */
  async stopWorkload(id: number): Promise<WorkloadStatistics> {
    return await this.#call('PUT', `/vms/${String(id)}/workload`, { running: false });
  }
  async leftovers(hostId: number): Promise<LabLeftovers> {
    return await this.#call('GET', `/hosts/${String(hostId)}/leftovers`);
  }
  /** `killed` stays down until `running`; `crashed` comes back by itself after a second. */
  async diskService(hostId: number, state: 'running' | 'killed' | 'crashed'): Promise<void> {
    await this.#call('PUT', `/hosts/${String(hostId)}/disk-service`, { state });
  }
  /** False: the host's disk service captures no running machine, as where the hypervisor can't. Restarts it. */
  async offerLiveExport(hostId: number, offered: boolean): Promise<void> {
    await this.#call('PUT', `/hosts/${String(hostId)}/live-export`, { offered });
  }
  async settings(): Promise<LabSettings> {
    return await this.#call('GET', '/settings');
  }
  async configure(change: Partial<LabSettings>): Promise<LabSettings> {
    return await this.#call('PUT', '/settings', change);
  }
  /** What tasks of the CVM are at work on, by name. */
  async busyWith(): Promise<string[]> {
    return (await this.#call<{ targets: string[] }>('GET', '/busy')).targets;
  }
  /** The next so many tasks of the CVM fail as on a busy host. */
  async failAsBusy(tasks: number): Promise<void> {
    await this.#call('PUT', '/busy', { tasks });
  }
  /** False: the CVM refuses connections, and those that were open are cut. */
  async listen(listening: boolean): Promise<void> {
    await this.#call('PUT', '/cvm', { listening });
  }
  /** Lets a storage pool look as small as this; null: as big as its file system. */
  async limitPool(hostId: number, name: string, quotaBytes: number | null): Promise<void> {
    await this.#call('PUT', '/pools', { hostId, name, quotaBytes });
  }

  /** False: the storage pool is stopped, as one that has vanished; its volumes stay. */
  async activatePool(hostId: number, name: string, active: boolean): Promise<void> {
    await this.#call('PUT', '/pools', { hostId, name, active });
  }

  async #call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const reply = await fetch(this.url + path, {
      method,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    const text = await reply.text();
    if (!reply.ok) throw new Error(`lab ${method} ${path}: ${String(reply.status)} ${text}`);
    return (text === '' ? undefined : JSON.parse(text)) as T;
  }
}
