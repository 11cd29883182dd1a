import { type Lab, type LabHostInfo, type LabVm, type LabVmPlan } from '@casvault/testkit';
import { writeAsGuest, writeToImage, type DiskWrite } from './guest-io.js';
import { PatternDisk } from './pattern-disk.js';
import { type Random } from './random.js';

const KiB = 1024;
const MiB = 1024 * KiB;
/** More make a history slower, not wider. */
const maxDisks = 4;
const maxDiskBytes = 96 * MiB;

/** Writes to one disk, as they will be done. */
export interface Burst {
  readonly target: string;
  readonly writes: readonly DiskWrite[];
}

/** A step that found nothing to do, and why. */
export class Idle {
  constructor(readonly why: string) {}
}

interface HistoryDisk {
  readonly target: string;
  /** As QEMU counts its virtio disks. */
  readonly number: number;
  content: PatternDisk;
}

/**
 * A machine of the lab whose every write is known: its guest writes nothing by itself. What each disk holds is kept
 * beside it, so that every instant can be judged later.
 */
export class LabMachine {
  readonly #lab: Lab;
  readonly #random: Random;
  readonly #disks: HistoryDisk[];
  #vm: LabVm;

  private constructor(lab: Lab, random: Random, vm: LabVm) {
    this.#lab = lab;
    this.#random = random;
    this.#vm = vm;
    this.#disks = vm.disks.map(({ target, sizeBytes }, number) => ({
      target,
      number,
      content: PatternDisk.empty(sizeBytes),
    }));
  }

  /** Of two small qcow2 disks on some host, unless `plan` says otherwise. */
  static async create(
    lab: Lab,
    name: string,
    random: Random,
    plan: Partial<Pick<LabVmPlan, 'host' | 'disks'>> = {},
  ): Promise<LabMachine> {
    const disks = [32 * MiB, 48 * MiB].map((sizeBytes) => ({ sizeBytes, format: 'qcow2' as const }));
    const host = random.between(1, lab.hosts.length);
    const base = { name, host, disks, guest: 'idle', memoryMiB: 96, nics: 0 } as const;
    return new LabMachine(lab, random, await lab.admin.createVm({ ...base, ...plan }));
  }

  get name(): string {
    return this.#vm.name;
  }
  get running(): boolean {
    return this.#vm.state === 'running';
  }
  get #host(): LabHostInfo {
    const host = this.#lab.hosts.find(({ id }) => id === this.#vm.hostId);
    if (host === undefined) throw new Error(`no host ${String(this.#vm.hostId)}`);
    return host;
  }

  /** What all disks hold now. */
  instant(): ReadonlyMap<string, PatternDisk> {
    return new Map(this.#disks.map(({ target, content }) => [target, content.copy()]));
  }

  /** After a roll-back: the disks that an instant names hold what they held then. */
  isBack(instant: ReadonlyMap<string, PatternDisk>): void {
    for (const disk of this.#disks) {
      const then = instant.get(disk.target);
      if (then !== undefined) disk.content = then.copy();
    }
  }

  /** Some writes of all shapes to one disk, drawn and not yet done. */
  draw(): Burst {
    const disk = this.#random.pick(this.#disks);
    if (disk === undefined) throw new Error('a machine without disks');
    const writes = Array.from({ length: this.#random.between(1, 4) }, () => this.#someWrite(disk));
    return { target: disk.target, writes };
  }

  async write({ target, writes }: Burst = this.draw()): Promise<string> {
    const disk = this.#disks.find((one) => one.target === target);
    if (disk === undefined) throw new Error(`the machine has no disk ${target}`);
    await this.#perform(disk, writes);
    const told = writes.map(
      ({ offset, length, pattern }) => `${String(pattern)}@${String(offset)}+${String(length)}`,
    );
    return `${target}: ${told.join(' ')}`;
  }

  #someWrite({ content: { sizeBytes } }: HistoryDisk): DiskWrite {
    const random = this.#random;
    const longest = random.chance(0.1) ? 4 * MiB : random.chance(0.5) ? 256 * KiB : 8 * KiB;
    const length = random.between(1, longest / 512) * 512;
    const offset = random.between(0, (sizeBytes - length) / 512) * 512;
    return { offset, length, pattern: random.chance(0.15) ? 0 : random.between(1, 255) };
  }

  async #perform(disk: HistoryDisk, writes: readonly DiskWrite[]): Promise<void> {
    if (this.running) await writeAsGuest(this.#host, this.#vm.uuid, disk.number, writes);
    else await writeToImage(this.#pathOf(disk.target), writes);
    for (const { offset, length, pattern } of writes) disk.content.fill(offset, length, pattern);
  }

  #pathOf(target: string): string {
    const disk = this.#vm.disks.find((one) => one.target === target);
    if (disk === undefined) throw new Error(`the machine has no disk ${target}`);
    return disk.path;
  }

  async powerOff(): Promise<void> {
    this.#vm = await this.#lab.admin.power(this.#vm.id, 'powerOff');
  }
  async start(): Promise<void> {
    this.#vm = await this.#lab.admin.power(this.#vm.id, 'start');
  }
  /** QEMU dies between two instructions: bitmaps are not saved. */
  async kill(): Promise<string | Idle> {
    if (!this.running) return new Idle('it is off');
    this.#vm = await this.#lab.admin.kill(this.#vm.id);
    return '';
  }
  async migrate(): Promise<string | Idle> {
    const target = this.#lab.hosts.find(({ id }) => id !== this.#vm.hostId);
    if (target === undefined) return new Idle('nowhere to go');
    const snapshots = await this.#lab.admin.snapshots(this.#vm.id);
    if (snapshots.some(({ kind }) => kind === 'memory')) return new Idle('a snapshot with memory holds it');
    this.#vm = await this.#lab.admin.migrate(this.#vm.id, target.id);
    return `to host ${String(target.id)}`;
  }
  async refresh(): Promise<void> {
    this.#vm = await this.#lab.admin.vm(this.#vm.id);
  }

  /** Its guest would hear the power button now. */
  async isUp(): Promise<void> {
    if (this.running) await this.#lab.admin.workload(this.#vm.id);
  }

  /** Grows one disk by some odd number of sectors. */
  async grow(): Promise<string | Idle> {
    const disk = this.#random.pick(this.#disks);
    if (disk === undefined || disk.content.sizeBytes > maxDiskBytes) return new Idle('large enough');
    const sizeBytes = disk.content.sizeBytes + this.#random.between(1, 4_000) * 512;
    this.#vm = await this.#lab.admin.resizeDisk(this.#vm.id, disk.target, sizeBytes);
    disk.content.grow(sizeBytes);
    return `${disk.target} to ${String(sizeBytes)}`;
  }

  async addDisk(): Promise<string | Idle> {
    if (this.#disks.length >= maxDisks) return new Idle('enough disks');
    const sizeBytes = this.#random.between(8, 32) * MiB;
    const { target } = await this.#lab.admin.attachDisk(this.#vm.id, { sizeBytes, format: 'qcow2' });
    this.#disks.push({ target, number: this.#disks.length, content: PatternDisk.empty(sizeBytes) });
    await this.refresh();
    return `${target} of ${String(sizeBytes)}`;
  }

  /** Somebody else's snapshot: made when there is none, else removed (an external one is merged back). */
  async foreignSnapshot(): Promise<string> {
    const { admin } = this.#lab;
    const [present] = await admin.snapshots(this.#vm.id);
    if (present === undefined) {
      const kind = !this.running ? 'internal' : this.#random.chance(0.5) ? 'external' : 'memory';
      await admin.createSnapshot(this.#vm.id, { name: 'theirs', kind });
      await this.refresh();
      return `one of kind ${kind}`;
    }
    await admin.deleteSnapshot(this.#vm.id, present.name);
    await this.refresh();
    return 'removed';
  }

  /** Nobody else's snapshot lies on the disks. */
  async isPlain(): Promise<boolean> {
    return (await this.#lab.admin.snapshots(this.#vm.id)).length === 0;
  }
}
