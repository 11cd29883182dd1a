import { chmod, chown, copyFile, link, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Platform, type RunDetail, type Vm } from '@casvault/contracts';
import { ApiClient, labBackup, startStack, type Stack } from '@casvault/stack';
import { freePort, until, type Lab } from '@casvault/testkit';
import { storedMiB } from './command.js';
import { type DiskImage } from './disk-image.js';
import { endings } from './endings.js';
import { type Contestant, type Figures } from './figures.js';
import { names } from './goals.js';
import { busyCpuS, forgetPeak, peakRssMiB } from './machine.js';
import { descendants, ProcessGroups } from './process-group.js';
import { requireSameDisk } from './same-disk.js';

const vmName = 'bench';
const parallel = { streamsPerDisk: 2 } as const;

/**
 * All services: a stopped VM of an emulated CAS, whose disk is the generated one, is backed up and restored as a new VM by jobs over the REST
 * API. The wall time is what the user of the API sees, from creating the job to the end of its run.
 */
export class ServiceContestant implements Contestant {
  readonly name = names.service;
  readonly #image: DiskImage;
  readonly #world: World;
  #pool: { readonly id: string; readonly path: string } | null = null;
  #pointId: NonNullable<RunDetail['items'][number]['pointId']> | null = null;
  #round = 0;

  private constructor(image: DiskImage, world: World) {
    this.#image = image;
    this.#world = world;
  }

  /**
   * Starts the stack and its lab below `dir`; they end with the run. `others`: our children that are no part of it. It has done one backup
   * and one restore then, as the engine has before it is measured over TCP: what services that run for weeks compile in their first minute is
   * not counted.
   */
  static async start(image: DiskImage, dir: string, others: readonly number[]): Promise<ServiceContestant> {
    const contestant = new ServiceContestant(image, await World.start(image, dir, others));
    await contestant.#tryOut();
    contestant.rest();
    return contestant;
  }

  get lab(): Lab {
    return this.#world.lab;
  }

  /** Its processes are halted while others are measured: idle, they take a twentieth of two cores. */
  readonly rest = (): void => this.#world.signal('SIGSTOP');
  readonly wake = async (): Promise<void> => {
    this.#world.signal('SIGCONT');
    await until(() => this.#world.api.isHealthy(), 30_000);
    // What was due meanwhile is made up for.
    await sleep(3_000);
  };

  async begin(round: number): Promise<void> {
    await this.wake();
    this.#round = round;
    const name = `round-${round}`;
    const path = join(this.#world.stack.dir, 'pools', name);
    const { id } = await this.#world.api.createPool({ name, type: 'standard', path });
    this.#pool = { id, path };
    this.rest();
  }

  async #tryOut(): Promise<void> {
    await this.begin(0);
    await this.wake();
    await this.steps.full();
    await this.steps.restore();
    await this.end();
  }

  readonly steps = {
    full: async (): Promise<Figures> => {
      const { id: poolId, path } = this.#requirePool();
      const definition = { ...labBackup, vmIds: [this.#world.vm.id], poolId, parallel };
      const { run, ...figures } = await this.#measured(`backup ${this.#round}`, definition);
      this.#pointId = run.items[0]?.pointId ?? null;
      return { ...figures, storedMiB: await storedMiB(path) };
    },
    restore: async (): Promise<Figures> => {
      const target = { ...this.#world.place, vmName: `restored-${this.#round}` };
      const definition = { kind: 'restore', items: [{ pointId: this.#pointId, target }], parallel };
      const { run, ...figures } = await this.#measured(`restore ${this.#round}`, definition);
      await this.#world.check(run, this.#image);
      return { ...figures, storedMiB: null };
    },
  };

  async end(): Promise<void> {
    await rm(this.#requirePool().path, { recursive: true, force: true });
  }

  #requirePool() {
    if (this.#pool === null) throw new Error('a step before its round');
    return this.#pool;
  }

  async #measured(
    name: string,
    definition: object,
  ): Promise<Omit<Figures, 'storedMiB'> & { run: RunDetail }> {
    const { stack } = this.#world;
    const mover = stack.process('mover-1').pid ?? NaN;
    forgetPeak(mover);
    const busy = busyCpuS();
    const groups = new ProcessGroups((commandLine, isOurs) => this.#world.groupOf(commandLine, isOurs));
    const begun = performance.now();
    const run = await this.#world.runJob(name, definition).finally(() => groups.stop());
    const wallS = (performance.now() - begun) / 1000;
    const cpu = groups.stop();
    const serverCpuS = cpu.get('nbd server') ?? 0;
    const cpuS = cpu.get('service') ?? 0;
    const othersCpuS = Math.max(0, busyCpuS() - busy - cpuS - serverCpuS);
    return { run, wallS, cpuS, serverCpuS, peakRssMiB: peakRssMiB(mover), readMiB: null, othersCpuS };
  }
}

/** The stack, its lab with the one VM, and a client that has signed in. */
class World {
  private constructor(
    readonly stack: Stack,
    readonly lab: Lab,
    readonly api: ApiClient,
    readonly platform: Platform,
    readonly vm: Vm,
    readonly place: { platformId: string; hostId: string; storageName: string },
    private readonly others: readonly number[],
  ) {}

  static async start(image: DiskImage, dir: string, others: readonly number[]): Promise<World> {
    const stack = await startStack({
      dir: join(dir, 'stack'),
      gatewayPort: await freePort(),
      movers: 1,
      lab: {
        hosts: 1,
        vms: [{ name: vmName, disks: [{ sizeBytes: image.sizeBytes, dataBytes: 0 }], running: false }],
      },
    });
    const { lab } = stack;
    if (lab === null) throw new Error('the stack has no lab');
    endings.add(async () => {
      await lab.remove();
      await stack.stop();
    });
    await giveDisk(lab, image);
    const api = new ApiClient(stack.gatewayUrl);
    await api.signIn('admin', stack.adminPassword);
    const platform = await register(api, lab);
    const vm = (await api.listVms({ platformId: platform.id })).find((one) => one.name === vmName);
    if (vm === undefined) throw new Error(`the CAS shows no ${vmName}`);
    const world = new World(stack, lab, api, platform, vm, await placeOn(api, platform), others);
    endings.add(() => world.signal('SIGCONT'));
    return world;
  }

  /** Runs an immediate job to its successful end. */
  async runJob(name: string, definition: object): Promise<RunDetail> {
    const plans = [{ type: 'immediate' as const }];
    const asked = { name, definition: definition as never, plans };
    const job = await this.api.createJob(await this.api.confirmed(asked));
    const [first] = await this.api.listRuns({ jobId: job.id });
    if (first === undefined) throw new Error(`job ${name} has no run`);
    const run = await this.api.watchRun(first.id, () => undefined);
    if (run.state !== 'succeeded')
      throw new Error(`${name} ended ${run.state}: ${run.items[0]?.fault?.message ?? 'no reason'}`);
    return run;
  }

  /** Compares the disk of a restored VM with the generated one, then removes the VM. */
  async check(run: RunDetail, image: DiskImage): Promise<void> {
    await this.api.syncPlatform(this.platform.id);
    const restored = await this.api.getVm(run.items[0]?.restoredVmId ?? ('' as never));
    const [disk] = restored.disks;
    if (disk === undefined || restored.disks.length !== 1)
      throw new Error('the restored VM has not one disk');
    const format = disk.format === 'raw' ? 'raw' : 'qcow2';
    await requireSameDisk(image, { path: disk.path, format }, names.service);
    const labVm = (await this.lab.admin.vms()).find(({ uuid }) => uuid === restored.uuid);
    if (labVm !== undefined) await this.lab.admin.deleteVm(labVm.id);
    await this.api.syncPlatform(this.platform.id);
  }

  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    for (const pid of descendants(this.others)) process.kill(pid, name);
  }

  /** The services and all they start are our children, but for the NBD servers: those name a folder of the lab. */
  groupOf(commandLine: string, isOurs: boolean): string | null {
    const isServer = /^\S*qemu-nbd /.test(commandLine);
    const places = [this.stack.dir, ...this.lab.hosts.map(({ root }) => root)];
    if (isServer) return places.some((place) => commandLine.includes(place)) ? 'nbd server' : null;
    return isOurs ? 'service' : null;
  }
}

/** The VM's disk becomes the generated one: the same file under another name where that is possible. */
async function giveDisk(lab: Lab, image: DiskImage): Promise<void> {
  const [vm] = await lab.admin.vms();
  const path = vm?.disks[0]?.path;
  if (path === undefined) throw new Error('the lab has no VM');
  const { uid, gid } = await stat(path);
  await rm(path);
  await link(image.qcow2, path).catch(() => copyFile(image.qcow2, path));
  await chown(path, uid, gid);
  await chmod(path, 0o644);
}

async function register(api: ApiClient, lab: Lab): Promise<Platform> {
  const { cvm, diskService } = lab;
  if (diskService === null) throw new Error('the lab has no disk services');
  const platform = await api.registerPlatform({
    name: 'lab',
    address: cvm.address,
    port: cvm.port,
    userName: cvm.user,
    password: cvm.password,
    diskService: { port: diskService.port, token: diskService.token },
  });
  return api.syncPlatform(platform.id);
}

async function placeOn(api: ApiClient, platform: Platform) {
  const [host] = await api.listHosts(platform.id);
  const storage = (await api.listStorages(platform.id)).find(
    (one) => one.hostId === host?.id && one.active && !one.name.includes('iso'),
  );
  if (host === undefined || storage === undefined) throw new Error('the CAS has no storage');
  return { platformId: platform.id, hostId: host.id, storageName: storage.name };
}
