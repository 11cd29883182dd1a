import { fork, type ChildProcess } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '@casvault/testkit';
import { bitmaps, type ChangedDisk } from './changed-disk.js';
import { chill, storedMiB, warm } from './command.js';
import { type DiskImage } from './disk-image.js';
import { endings } from './endings.js';
import { type EngineCall, type EngineReply } from './engine-calls.js';
import { type Contestant, type Figures } from './figures.js';
import { busyCpuS, diskReadMiB, forgetPeak, peakRssMiB, processCpuS } from './machine.js';
import { names } from './goals.js';
import { NbdServer, type NbdPlace } from './nbd-server.js';
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

/**
 * The bare engine: reads the disk from qemu-nbd into a folder, restores it from there to a new qcow2 of another qemu-nbd. Over TCP it is what
 * the services are measured against: as theirs, which were halted between the steps, its threads begin cold.
 */
export class EngineContestant implements Contestant {
  readonly name: string;
  readonly #engine: EngineProcess;
  readonly #image: DiskImage;
  readonly #changed: ChangedDisk;
  readonly #dir: string;
  readonly #encrypted: boolean;
  readonly #placeOf: (server: string) => Promise<NbdPlace>;
  /** Number of the newest point of the round: each is the parent of the next. */
  #newest = 0;

  /** `overTcp`: as a mover reaches a disk service, full and restore only; else over Unix sockets. */
  constructor(
    engine: EngineProcess,
    { image, changed }: { image: DiskImage; changed: ChangedDisk },
    dir: string,
    { encrypted = false, overTcp = false } = {},
  ) {
    this.name = encrypted ? names.encrypted : overTcp ? names.engineOverTcp : names.engine;
    this.#engine = engine;
    this.#image = image;
    this.#changed = changed;
    this.#dir = join(dir, this.name.replaceAll(/\W+/g, '-'));
    this.#encrypted = encrypted;
    this.#placeOf = async (server) => (overTcp ? freePort() : join(dir, `${server}.sock`));
    this.steps = overTcp
      ? {
          full: () => this.#cold(() => this.#backUp(image.qcow2)),
          restore: () => this.#cold(() => this.#restore(image)),
        }
      : this.#allSteps();
  }

  readonly steps: Contestant['steps'];

  #allSteps(): Contestant['steps'] {
    const { qcow2 } = this.#image;
    return {
      full: () => this.#backUp(qcow2),
      rescan: () => this.#backUp(qcow2),
      incremental: () => this.#increment(bitmaps.before),
      unchanged: () => this.#increment(bitmaps.after),
      restore: () => this.#restore(this.#changed),
    };
  }

  /** The rescan once more, of a disk that lies in the page cache. */
  async rescanWarm(): Promise<Figures> {
    const { qcow2 } = this.#image;
    await warm(qcow2);
    return this.#backUpFrom(await NbdServer.cached(qcow2, await this.#placeOf('source')), null);
  }

  async begin(): Promise<void> {
    this.#newest = 0;
    await this.#engine.call({ name: 'create', pool: this.#dir, encrypted: this.#encrypted });
  }

  async end(): Promise<void> {
    await rm(this.#dir, { recursive: true, force: true });
  }

  async #cold(step: () => Promise<Figures>): Promise<Figures> {
    await this.#engine.call({ name: 'cool' });
    return step();
  }

  async #increment(bitmap: string): Promise<Figures> {
    const before = await storedMiB(this.#dir);
    const figures = await this.#backUp(this.#changed.qcow2, bitmap);
    return { ...figures, storedMiB: (figures.storedMiB ?? NaN) - before };
  }

  async #backUp(disk: string, bitmap: string | null = null): Promise<Figures> {
    return this.#backUpFrom(await NbdServer.source(disk, await this.#placeOf('source'), bitmap), bitmap);
  }

  async #backUpFrom(server: NbdServer, bitmap: string | null): Promise<Figures> {
    try {
      await chill(this.#dir);
      this.#newest += 1;
      const call = { name: 'backup', bitmap, ...this.#call(server) } as const;
      const read = diskReadMiB(server.pid);
      const figures = await this.#measured(call, server);
      const readMiB = diskReadMiB(server.pid) - read;
      return { ...figures, readMiB, storedMiB: await storedMiB(this.#dir) };
    } finally {
      await server.stop();
    }
  }

  async #restore(disk: { readonly raw: string }): Promise<Figures> {
    await chill(this.#dir);
    const restored = `${this.#dir}.qcow2`;
    const server = await NbdServer.target(restored, this.#image.sizeBytes, await this.#placeOf('target'));
    try {
      const figures = await this.#measured({ name: 'restore', ...this.#call(server) }, server);
      await server.stop();
      await requireSameDisk(disk, { path: restored, format: 'qcow2' }, this.name);
      return { ...figures, readMiB: null, storedMiB: null };
    } finally {
      await server.stop();
      await rm(restored, { force: true });
    }
  }

  #call(server: NbdServer) {
    const point = this.#newest;
    return { pool: this.#dir, encrypted: this.#encrypted, endpoint: server.endpoint, point };
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
