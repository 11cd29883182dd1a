import { fork, type ChildProcess } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bitmaps, type ChangedDisk } from './changed-disk.js';
import { chill, storedMiB } from './command.js';
import { type DiskImage } from './disk-image.js';
import { endings } from './endings.js';
import { type EngineCall, type EngineReply } from './engine-calls.js';
import { type Contestant, type Figures, type Step } from './figures.js';
import { busyCpuS, diskReadMiB, forgetPeak, peakRssMiB, processCpuS } from './machine.js';
import { NbdServer } from './nbd-server.js';
import { requireSameDisk } from './same-disk.js';

/** The product's engine in a resident process. One call at a time. */
export class EngineProcess {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static start(): EngineProcess {
    const engine = new EngineProcess(fork(fileURLToPath(new URL('./engine.main.js', import.meta.url))));
    endings.add(engine.stop);
    return engine;
  }

  get pid(): number {
    return this.#child.pid ?? NaN;
  }

  /** What the call cost the process, by its own clocks. */
  async call(
    call: EngineCall,
  ): Promise<Pick<Figures, 'wallS' | 'cpuS' | 'peakRssMiB'> & Pick<EngineReply, 'writtenBytes'>> {
    const { pid } = this;
    forgetPeak(pid);
    const { error, wallS, cpuS, writtenBytes } = await new Promise<EngineReply>((resolve, reject) => {
      const died = (code: number | null): void => reject(new Error(`the engine's process ended (${code})`));
      this.#child.once('exit', died);
      this.#child.once('message', (reply) => {
        this.#child.off('exit', died);
        resolve(reply as EngineReply);
      });
      this.#child.send(call);
    });
    if (error !== null) throw new Error(error);
    return { wallS, cpuS, peakRssMiB: peakRssMiB(pid), writtenBytes };
  }

  readonly stop = async (): Promise<void> => {
    endings.drop(this.stop);
    if (this.#child.exitCode === null && this.#child.kill('SIGKILL')) {
      await new Promise((resolve) => this.#child.once('exit', resolve));
    }
  };
}

/** The bare engine: reads the disk from qemu-nbd into a folder, restores it from there to a new qcow2 of another qemu-nbd. */
export class EngineContestant implements Contestant {
  readonly name: string;
  readonly #engine: EngineProcess;
  readonly #image: DiskImage;
  readonly #changed: ChangedDisk;
  readonly #dir: string;
  readonly #encrypted: boolean;

  constructor(
    engine: EngineProcess,
    { image, changed }: { image: DiskImage; changed: ChangedDisk },
    dir: string,
    encrypted: boolean,
  ) {
    this.name = encrypted ? 'casvault, encrypted' : 'casvault';
    this.#engine = engine;
    this.#image = image;
    this.#changed = changed;
    this.#dir = join(dir, encrypted ? 'casvault-encrypted' : 'casvault');
    this.#encrypted = encrypted;
  }

  async begin(): Promise<void> {
    await this.#engine.call({ name: 'create', pool: this.#dir, encrypted: this.#encrypted });
  }

  readonly steps: Readonly<Record<Step, () => Promise<Figures>>> = {
    full: () => this.#backUp(1, this.#image.qcow2, null),
    rescan: () => this.#backUp(2, this.#image.qcow2, null),
    incremental: () => this.#increment(3, bitmaps.before),
    unchanged: () => this.#increment(4, bitmaps.after),
    restore: () => this.#restore(4),
  };

  async end(): Promise<void> {
    await rm(this.#dir, { recursive: true, force: true });
  }

  async #increment(point: number, bitmap: string): Promise<Figures> {
    const before = await storedMiB(this.#dir);
    const figures = await this.#backUp(point, this.#changed.qcow2, bitmap);
    return { ...figures, storedMiB: (figures.storedMiB ?? NaN) - before };
  }

  async #backUp(point: number, disk: string, bitmap: string | null): Promise<Figures> {
    await chill(this.#dir);
    const server = await NbdServer.source(disk, join(this.#dir, '..', 'source.sock'), bitmap);
    try {
      const call = { name: 'backup', bitmap, ...this.#call(server, point) } as const;
      const read = diskReadMiB(server.pid);
      const figures = await this.#measured(call, server);
      const readMiB = diskReadMiB(server.pid) - read;
      return { ...figures, readMiB, storedMiB: await storedMiB(this.#dir) };
    } finally {
      await server.stop();
    }
  }

  async #restore(point: number): Promise<Figures> {
    await chill(this.#dir);
    const restored = `${this.#dir}.qcow2`;
    const socket = join(this.#dir, '..', 'target.sock');
    const server = await NbdServer.target(restored, this.#image.sizeBytes, socket);
    try {
      const figures = await this.#measured({ name: 'restore', ...this.#call(server, point) }, server);
      await server.stop();
      await requireSameDisk(this.#changed, { path: restored, format: 'qcow2' }, this.name);
      return { ...figures, readMiB: null, storedMiB: null };
    } finally {
      await server.stop();
      await rm(restored, { force: true });
    }
  }

  #call(server: NbdServer, point: number) {
    return { pool: this.#dir, encrypted: this.#encrypted, socket: server.socket, point };
  }

  async #measured(call: EngineCall, server: NbdServer): Promise<Omit<Figures, 'storedMiB' | 'readMiB'>> {
    const busy = busyCpuS();
    const served = processCpuS(server.pid);
    const own = await this.#engine.call(call);
    const serverCpuS = processCpuS(server.pid) - served;
    const othersCpuS = Math.max(0, busyCpuS() - busy - own.cpuS - serverCpuS);
    return { ...own, serverCpuS, othersCpuS };
  }
}
