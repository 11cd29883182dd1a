import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Platform, type Point, type RunDetail, type Vm } from '@casvault/contracts';
import { startCaptureObserver, type CaptureObserver, type Lab, type WayToExport } from '@casvault/testkit';
import { ApiClient } from './api-client.js';
import { type Stack } from './stack.js';

const run = promisify(execFile);

/** A backup job for the small stores of a lab, whose end somebody waits for: no reserve, nothing is tried again. */
export const labBackup = {
  kind: 'backup',
  reserve: { freePercent: null, freeGiB: null },
  retry: { count: 0, intervalMinutes: 0 },
} as const;

/** The control port of the lab's disk services as the platform is registered with: an observer stands there. */
const observerPort = 8193;

/**
 * A signed-in client on a stack with a lab, an observer before every disk service, and the words that the demo and the
 * end-to-end scenarios share. `end` stops the observers, not the stack.
 */
export class Trial {
  private constructor(
    readonly stack: Stack,
    readonly lab: Lab,
    readonly api: ApiClient,
    private readonly observers: readonly CaptureObserver[],
  ) {}

  /** `wayTo`: where movers are led to, other than where the disk services are. */
  static async begin(stack: Stack, wayTo?: WayToExport): Promise<Trial> {
    const { lab } = stack;
    if (lab === null) throw new Error('this stack has no lab');
    const observers: CaptureObserver[] = [];
    for (const host of lab.hosts) {
      observers.push(
        await startCaptureObserver({
          address: host.address,
          port: observerPort,
          upstreamPort: lab.diskService?.port ?? 8192,
          directory: join(stack.dir, 'references'),
          ...(wayTo === undefined ? {} : { wayTo }),
        }),
      );
    }
    const api = new ApiClient(stack.gatewayUrl);
    await api.signIn('admin', stack.adminPassword);
    return new Trial(stack, lab, api, observers);
  }

  async end(): Promise<void> {
    for (const observer of this.observers) await observer.stop();
  }

  /**
   * Registers the lab's CAS, or synchronises it when an earlier trial registered it. Not `observed`: its disk services are asked
   * directly, and `referenceOf` knows none of its captures.
   */
  async platform(name = 'lab CAS', observed = true): Promise<Platform> {
    const known = (await this.api.listPlatforms()).find((platform) => platform.name === name);
    if (known !== undefined) return this.api.syncPlatform(known.id);
    const { cvm } = this.lab;
    const platform = await this.api.registerPlatform({
      name,
      address: cvm.address,
      port: cvm.port,
      userName: cvm.user,
      password: cvm.password,
      diskService: {
        port: observed ? observerPort : (this.lab.diskService?.port ?? 8192),
        token: this.lab.diskService?.token ?? '',
      },
    });
    return this.api.syncPlatform(platform.id);
  }

  async vm(platform: Platform, name: string): Promise<Vm> {
    const vms = await this.api.listVms({ platformId: platform.id, search: name });
    const vm = vms.find((one) => one.name === name);
    if (vm === undefined) throw new Error(`no virtual machine ${name} on ${platform.name}`);
    return vm;
  }

  /** A standard pool in a folder of the stack; taken up when an earlier trial made it. */
  async standardPool(name = 'demo'): Promise<{ id: string; name: string; path: string }> {
    const path = join(this.stack.dir, 'pools', name);
    const known = (await this.api.listPools()).find((pool) => pool.name === name);
    const pool = known ?? (await this.api.createPool({ name, type: 'standard', path }));
    return { id: pool.id, name, path };
  }

  /** Backs up one VM at once and follows the run to its end. */
  async backUp(
    vm: Vm,
    poolId: string,
    onChange: (run: RunDetail) => void = () => undefined,
  ): Promise<RunDetail> {
    return this.runJob(
      { ...labBackup, vmIds: [vm.id], poolId, parallel: { streamsPerDisk: 2 } },
      `backup of ${vm.name}`,
      onChange,
    );
  }

  /** Where VMs are restored to on the host `externalHostId` of the platform: its first storage pool that holds disks. */
  async placeOn(platform: Platform, externalHostId: string) {
    const host = (await this.api.listHosts(platform.id)).find((one) => one.externalId === externalHostId);
    if (host === undefined) throw new Error(`no host ${externalHostId} on ${platform.name}`);
    const storage = (await this.api.listStorages(platform.id)).find(
      (one) => one.hostId === host.id && one.active && !one.name.includes('iso'),
    );
    if (storage === undefined) throw new Error(`no storage pool on ${host.name}`);
    return { platformId: platform.id, hostId: host.id, storageName: storage.name };
  }

  /** Restores a point as a new VM on the host `externalHostId` of the platform. */
  async restore(
    point: { id: string },
    platform: Platform,
    externalHostId: string,
    vmName: string,
    onChange: (run: RunDetail) => void = () => undefined,
  ): Promise<RunDetail> {
    const target = { ...(await this.placeOn(platform, externalHostId)), vmName };
    return this.runJob(
      { kind: 'restore', items: [{ pointId: point.id, target }], parallel: { streamsPerDisk: 2 } },
      `restore as ${vmName}`,
      onChange,
    );
  }

  /** Creates an immediate job and follows its run. */
  async runJob(definition: object, name: string, onChange: (run: RunDetail) => void): Promise<RunDetail> {
    const started = await this.startJob(definition, name);
    return this.api.watchRun(started, onChange);
  }

  /** Creates an immediate job, a restore with the code of its preview; the id of its run. */
  async startJob(definition: object, name: string): Promise<RunDetail['id']> {
    const asked = { name, definition: definition as never, plans: [{ type: 'immediate' as const }] };
    const job = await this.api.createJob(await this.api.confirmed(asked));
    const [first] = await this.api.listRuns({ jobId: job.id });
    if (first === undefined) throw new Error(`job ${name} has no run`);
    return first.id;
  }

  /** The independent copy of the instant that `point` was captured at, by disk target. */
  async referenceOf(point: Point): Promise<ReadonlyMap<string, string>> {
    const all = this.observers.flatMap((observer) => observer.captures().map((id) => ({ observer, id })));
    for (const { observer, id } of all.reverse()) {
      const { opening, files } = await observer.reference(id);
      if (opening.openedAt === point.capturedAt) return files;
    }
    throw new Error(`no capture of ${point.capturedAt ?? 'no instant'} was observed`);
  }
}

interface Image {
  readonly path: string;
  readonly format: string;
}

const virtualSize = async ({ path, format }: Image): Promise<number> => {
  const { stdout } = await run('qemu-img', ['info', '-U', '--output=json', '-f', format, path]);
  return (JSON.parse(stdout) as { 'virtual-size': number })['virtual-size'];
};

/** Both images have the same size and the same bytes, by qemu-img: no line of the product takes part. */
export const sameDisk = async (a: Image, b: Image): Promise<boolean> => {
  if ((await virtualSize(a)) !== (await virtualSize(b))) return false;
  try {
    await run('qemu-img', ['compare', '-U', '-f', a.format, '-F', b.format, a.path, b.path]);
    return true;
  } catch (error) {
    if ((error as { code?: number }).code === 1) return false;
    throw error;
  }
};

/** Bytes that a file takes on its disk. */
export const allocatedBytes = async (path: string): Promise<number> => (await stat(path)).blocks * 512;
