import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type ChangedDisk } from './changed-disk.js';
import { chill, runQuietly, storedMiB, timed, warm } from './command.js';
import { type DiskImage } from './disk-image.js';
import { type Contestant, type Figures, type Step } from './figures.js';
import { NbdServer } from './nbd-server.js';
import { requireSameDisk } from './same-disk.js';

/*
 * Tools that people use today, each with the settings nearest to what Casvault does. borg and restic read the disk as a sparse raw file,
 * qemu-img as a qcow2 file; none of them pays for an NBD server. As ours, they begin with nothing of it in the page cache, nor of what they
 * stored before. What a command wrote is synced before its time ends.
 */

const syncAll = (path: string): string => `find '${path}' -type f -exec sync {} +`;

abstract class Peer implements Contestant {
  abstract readonly name: string;
  abstract readonly steps: Partial<Readonly<Record<Step, () => Promise<Figures>>>>;
  protected readonly image: DiskImage;
  /** Its own folder, made and removed here. */
  protected readonly dir: string;

  constructor(image: DiskImage, dir: string) {
    this.image = image;
    this.dir = dir;
  }

  async begin(): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
    await mkdir(this.dir, { recursive: true });
  }

  async end(): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
  }

  protected path(name: string): string {
    return join(this.dir, name);
  }

  protected async run(options: {
    readonly script: string;
    readonly env?: Readonly<Record<string, string>>;
    readonly servers?: readonly number[];
    /** What it reads: dropped from the page cache before. */
    readonly input: string;
    /** What is stored after it. */
    readonly repository?: string;
  }): Promise<Figures> {
    const { input, repository, ...command } = options;
    await chill(input);
    const figures = await timed({ ...command, dir: this.dir });
    return { ...figures, storedMiB: repository === undefined ? null : await storedMiB(repository) };
  }

  protected async check(
    path: string,
    format: 'raw' | 'qcow2',
    disk: { readonly raw: string } = this.image,
  ): Promise<void> {
    await requireSameDisk(disk, { path, format }, this.name);
    await rm(path);
  }
}

/** borg with fixed chunks of 1 MiB and zstd level 1. */
export class Borg extends Peer {
  readonly name: string;
  readonly #mode: string;

  readonly #changed: ChangedDisk;

  constructor(
    { image, changed }: { image: DiskImage; changed: ChangedDisk },
    dir: string,
    encrypted: boolean,
  ) {
    super(image, join(dir, encrypted ? 'borg-encrypted' : 'borg'));
    this.#changed = changed;
    this.name = encrypted ? 'borg fixed, encrypted' : 'borg fixed';
    this.#mode = encrypted ? 'repokey-blake2' : 'none';
  }

  override async begin(): Promise<void> {
    await super.begin();
    await timed({
      script: `borg init -e ${this.#mode} '${this.#repository}'`,
      env: this.#env,
      dir: this.dir,
    });
  }

  readonly steps = {
    full: () => this.#create('first', this.image.raw),
    rescan: async () => {
      await runQuietly('touch', this.image.raw);
      return this.#create('second', this.image.raw);
    },
    incremental: () => this.#increment('third'),
    unchanged: async () => {
      await runQuietly('touch', this.#changed.raw);
      return this.#increment('fourth');
    },
    restore: async () => {
      const restored = this.path('restored');
      await mkdir(restored);
      const file = join(restored, this.#changed.raw);
      const extract = `cd '${restored}'; borg extract --sparse '${this.#repository}::third'`;
      const script = `${extract}; sync '${file}'`;
      const figures = await this.run({ script, env: this.#env, input: this.#repository });
      await this.check(file, 'raw', this.#changed);
      return figures;
    },
  };

  /** The rescan once more, of a disk that lies in the page cache. */
  async rescanWarm(): Promise<Figures> {
    await chill(this.#repository);
    await runQuietly('touch', this.image.raw);
    await warm(this.image.raw);
    return this.#timed(this.#script('warm', this.image.raw));
  }

  get #repository(): string {
    return this.path('repository');
  }

  get #env(): Record<string, string> {
    return {
      BORG_BASE_DIR: this.dir,
      BORG_PASSPHRASE: 'bench',
      BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
    };
  }

  async #increment(archive: string): Promise<Figures> {
    const before = await storedMiB(this.#repository);
    const figures = await this.#create(archive, this.#changed.raw);
    return { ...figures, storedMiB: (figures.storedMiB ?? NaN) - before };
  }

  async #create(archive: string, disk: string): Promise<Figures> {
    await chill(this.#repository);
    await chill(disk);
    return this.#timed(this.#script(archive, disk));
  }

  async #timed(script: string): Promise<Figures> {
    const figures = await timed({ script, env: this.#env, dir: this.dir });
    return { ...figures, storedMiB: await storedMiB(this.#repository) };
  }

  #script(archive: string, disk: string): string {
    const settings = '--sparse --chunker-params fixed,1048576 -C zstd,1';
    const create = `borg create ${settings} '${this.#repository}::${archive}' '${disk}'`;
    return `${create}; ${syncAll(this.#repository)}`;
  }
}

/** restic with its own compression; it always encrypts. */
export class Restic extends Peer {
  readonly name = 'restic';

  constructor(image: DiskImage, dir: string) {
    super(image, join(dir, 'restic'));
  }

  override async begin(): Promise<void> {
    await super.begin();
    await timed({ script: 'restic init -q --repository-version 2', env: this.#env, dir: this.dir });
  }

  readonly steps = {
    full: () => this.#backUp(),
    rescan: async () => {
      await runQuietly('touch', this.image.raw);
      return this.#backUp();
    },
    restore: async () => {
      const restored = this.path('restored');
      const file = join(restored, this.image.raw);
      const script = `restic restore -q latest --target '${restored}'; sync '${file}'`;
      const figures = await this.run({ script, env: this.#env, input: this.#repository });
      await this.check(file, 'raw');
      return figures;
    },
  };

  get #repository(): string {
    return this.path('repository');
  }

  get #env(): Record<string, string> {
    return {
      RESTIC_REPOSITORY: this.#repository,
      RESTIC_PASSWORD: 'bench',
      RESTIC_CACHE_DIR: this.path('cache'),
    };
  }

  async #backUp(): Promise<Figures> {
    await chill(this.#repository);
    return this.run({
      script: `restic backup -q '${this.image.raw}'; ${syncAll(this.#repository)}`,
      env: this.#env,
      input: this.image.raw,
      repository: this.#repository,
    });
  }
}

/** A compressed copy by qemu-img: no hashes, no deduplication, everything again each time. */
export class QemuImg extends Peer {
  readonly name = 'qemu-img convert -c';

  constructor(image: DiskImage, dir: string) {
    super(image, join(dir, 'qemu-img'));
  }

  readonly steps = {
    full: () => {
      const copy = this.path('copy.qcow2');
      const settings = '-c -m 8 -W -O qcow2 -o compression_type=zstd';
      return this.run({
        script: `qemu-img convert ${settings} '${this.image.qcow2}' '${copy}'; sync '${copy}'`,
        input: this.image.qcow2,
        repository: copy,
      });
    },
    restore: async () => {
      const copy = this.path('copy.qcow2');
      const restored = this.path('restored.qcow2');
      const script = `qemu-img convert -m 8 -W -O qcow2 '${copy}' '${restored}'; sync '${restored}'`;
      const figures = await this.run({ script, input: copy });
      await this.check(restored, 'qcow2');
      return figures;
    },
  };
}

/** The disk copied from one NBD server to another: nothing unpacked, nothing checked. */
export class NbdCopy extends Peer {
  readonly name = 'nbdcopy nbd->nbd';

  constructor(image: DiskImage, dir: string) {
    super(image, join(dir, 'nbdcopy'));
  }

  readonly steps = {
    restore: async () => {
      const restored = this.path('restored.qcow2');
      const source = await NbdServer.source(this.image.qcow2, this.path('source.sock'));
      const target = await NbdServer.target(restored, this.image.sizeBytes, this.path('target.sock'));
      try {
        const script = `nbdcopy --flush '${source.uri}' '${target.uri}'`;
        const servers = [source.pid, target.pid];
        const figures = await this.run({ script, servers, input: this.image.qcow2 });
        await target.stop();
        await this.check(restored, 'qcow2');
        return figures;
      } finally {
        await source.stop();
        await target.stop();
      }
    },
  };
}
