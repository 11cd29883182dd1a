import { chown, copyFile, mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Lab, type LabHostInfo, type LabVm } from '@casvault/testkit';
import { changedShare, writeChanges, writesOf } from './changed-disk.js';
import { runQuietly, storedMiB, timed } from './command.js';
import { databasePages } from './content.js';
import { type DiskImage } from './disk-image.js';
import { type Contestant, type Figures } from './figures.js';
import { names } from './goals.js';

/** Where virtual machines run: the lab of the services, asleep but for the steps of those that need it. */
interface Place extends Required<Pick<Contestant, 'wake' | 'rest'>> {
  readonly lab: Lab;
}

/**
 * virtnbdbackup of a paused machine: it reads what libvirt's checkpoint says from QEMU's own NBD server, packs it with lz4 and looks at
 * nothing else. Each round changes as much of its disk as ours has changed.
 */
export class VirtNbdBackup implements Contestant {
  readonly name = names.virtNbdBackup;
  readonly wake: Place['wake'];
  readonly rest: Place['rest'];
  readonly #place: Place;
  readonly #image: DiskImage;
  readonly #dir: string;
  readonly #host: LabHostInfo;
  readonly #vm: LabVm;

  private constructor(place: Place, image: DiskImage, dir: string, vm: LabVm) {
    const host = place.lab.hosts.find(({ id }) => id === vm.hostId);
    if (host === undefined) throw new Error(`the lab has no host ${vm.hostId}`);
    this.wake = place.wake;
    this.rest = place.rest;
    this.#place = place;
    this.#image = image;
    this.#dir = join(dir, 'virtnbdbackup');
    this.#host = host;
    this.#vm = vm;
  }

  /** Makes the machine with a copy of the disk, and the full backup that all rounds stand on. */
  static async start(place: Place, image: DiskImage, dir: string): Promise<VirtNbdBackup> {
    await place.wake();
    const { admin } = place.lab;
    const disks = [{ sizeBytes: image.sizeBytes, dataBytes: 0 }];
    const vm = await admin.createVm({ name: 'virtnbdbackup', disks, running: false });
    const contestant = new VirtNbdBackup(place, image, dir, vm);
    const { path } = contestant.#disk;
    const { uid, gid } = await stat(path);
    await copyFile(image.qcow2, path);
    await chown(path, uid, gid);
    await contestant.#resume();
    await mkdir(contestant.#dir);
    await runQuietly('sh', '-ec', contestant.#script('full'));
    place.rest();
    return contestant;
  }

  async begin(round: number): Promise<void> {
    await this.wake();
    await this.#place.lab.admin.power(this.#vm.id, 'powerOff');
    const { sizeBytes, dataBytes } = this.#image;
    const writes = writesOf(sizeBytes, dataBytes * changedShare, round);
    const disk = { qcow2: this.#disk.path, raw: null };
    await writeChanges(writes, databasePages(round), join(this.#dir, 'change.sock'), disk);
    await this.#resume();
    this.rest();
  }

  readonly steps = {
    incremental: (): Promise<Figures> => this.#increment(),
    unchanged: (): Promise<Figures> => this.#increment(),
  };

  async end(): Promise<void> {
    await rm(join(this.#dir, 'usage'), { force: true });
  }

  async #increment(): Promise<Figures> {
    const before = await storedMiB(this.#dir);
    const running = await runQuietly('pgrep', '-f', `^[^ ]*qemu-system.*${this.#disk.path}`);
    const servers = running.trim().split('\n').map(Number);
    const figures = await timed({ script: this.#script('inc'), servers, dir: this.#dir });
    return { ...figures, storedMiB: (await storedMiB(this.#dir)) - before };
  }

  /** It runs, and its guest does not: nothing but the backup takes CPU or writes. */
  async #resume(): Promise<void> {
    const { admin } = this.#place.lab;
    await admin.power(this.#vm.id, 'start');
    await admin.power(this.#vm.id, 'suspend');
  }

  #script(level: 'full' | 'inc'): string {
    const { env, root } = this.#host;
    const uri = `qemu+unix:///session?socket=${env['XDG_RUNTIME_DIR'] ?? ''}/libvirt/libvirt-sock`;
    // It wants a name and a password for every remote-looking address; a socket asks for none.
    const connection = `-U '${uri}' --user none --password none`;
    const scratch = `-S '${root}' -f '${root}/virtnbdbackup.sock'`;
    const backup = `virtnbdbackup -n -z ${connection} -d '${this.#vm.name}' -l ${level} ${scratch} -o '${this.#dir}/backup'`;
    return `${backup}; find '${this.#dir}/backup' -type f -exec sync {} +`;
  }

  get #disk(): LabVm['disks'][number] {
    const [disk] = this.#vm.disks;
    if (disk === undefined) throw new Error('the machine has no disk');
    return disk;
  }
}
