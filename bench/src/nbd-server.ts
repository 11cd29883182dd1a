import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type NbdEndpoint } from '@casvault/block-source';
import { runQuietly } from './command.js';
import { endings } from './endings.js';

const startPatienceMs = 10_000;
/** As the disk service runs it: without them its allocator gives the memory of every request back to the system. */
const allocatorSettings = { MALLOC_MMAP_THRESHOLD_: '33554432', MALLOC_TRIM_THRESHOLD_: '67108864' };

/** Where a server listens: the path of a Unix socket, or a TCP port of the loopback device. */
export type NbdPlace = string | number;

const host = '127.0.0.1';
const exportName = '';

/** A qemu-nbd, run as the product's disk service does: past the page cache, but for a `cached` source. */
export class NbdServer {
  readonly #place: NbdPlace;
  readonly #process: ChildProcess;

  private constructor(place: NbdPlace, process: ChildProcess) {
    this.#place = place;
    this.#process = process;
  }

  /** The disk to be backed up, with a bitmap of what changed where one is named. */
  static source(image: string, place: NbdPlace, bitmap: string | null = null): Promise<NbdServer> {
    const tracking = bitmap === null ? [] : ['-B', bitmap];
    return NbdServer.#start(place, ['-r', '-f', 'qcow2', ...tracking, '--cache=none', '--aio=native', image]);
  }

  /** The disk out of the page cache, for a step whose speed the disk is not to decide. */
  static cached(image: string, place: NbdPlace): Promise<NbdServer> {
    return NbdServer.#start(place, ['-r', '-f', 'qcow2', '--cache=writeback', '--aio=threads', image]);
  }

  /** A new, empty qcow2 at `image`. Its server writes with threads: with native AIO, writes that allocate would block it. */
  static async target(image: string, sizeBytes: number, place: NbdPlace): Promise<NbdServer> {
    await runQuietly('qemu-img', 'create', '-q', '-f', 'qcow2', image, String(sizeBytes));
    return NbdServer.writable(image, place);
  }

  /** A qcow2 that is there, with a bitmap that goes on where one is named. */
  static writable(image: string, place: NbdPlace, bitmap: string | null = null): Promise<NbdServer> {
    const tracking = bitmap === null ? [] : ['-B', bitmap];
    return NbdServer.#start(place, ['-f', 'qcow2', ...tracking, '--cache=none', '--aio=threads', image]);
  }

  static async #start(place: NbdPlace, args: readonly string[]): Promise<NbdServer> {
    if (typeof place === 'string') await rm(place, { force: true });
    const where = typeof place === 'string' ? ['-k', place] : ['-b', host, '-p', String(place)];
    const child = spawn('qemu-nbd', [...where, '-t', '-e', '8', ...args], {
      env: { ...process.env, ...allocatorSettings },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const server = new NbdServer(place, child);
    endings.add(server.stop);
    for (let waited = 0; !(await server.#listens()); waited += 20) {
      if (child.exitCode !== null || waited > startPatienceMs) {
        await server.stop();
        throw new Error(`qemu-nbd ${args.join(' ')} does not serve`);
      }
      await sleep(20);
    }
    return server;
  }

  async #listens(): Promise<boolean> {
    const place = this.#place;
    const socket = typeof place === 'string' ? connect(place) : connect(place, host);
    return once(socket, 'connect')
      .then(() => true)
      .catch(() => false)
      .finally(() => socket.destroy());
  }

  get pid(): number {
    return this.#process.pid ?? NaN;
  }

  get endpoint(): NbdEndpoint {
    const place = this.#place;
    return typeof place === 'string' ? { path: place, exportName } : { host, port: place, exportName };
  }

  get uri(): string {
    const place = this.#place;
    return typeof place === 'string' ? `nbd+unix:///?socket=${place}` : `nbd://${host}:${place}/`;
  }

  readonly stop = async (): Promise<void> => {
    endings.drop(this.stop);
    if (this.#process.exitCode === null && this.#process.kill()) {
      await new Promise((resolve) => this.#process.once('exit', resolve));
    }
    if (typeof this.#place === 'string') await rm(this.#place, { force: true });
  };
}
