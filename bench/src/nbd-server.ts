import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { runQuietly } from './command.js';
import { endings } from './endings.js';

const startPatienceMs = 10_000;
/** As the disk service runs it: without them its allocator gives the memory of every request back to the system. */
const allocatorSettings = { MALLOC_MMAP_THRESHOLD_: '33554432', MALLOC_TRIM_THRESHOLD_: '67108864' };

/** A qemu-nbd on a socket, run as the product's disk service does: past the page cache. */
export class NbdServer {
  readonly socket: string;
  readonly #process: ChildProcess;

  private constructor(socket: string, process: ChildProcess) {
    this.socket = socket;
    this.#process = process;
  }

  /** The disk to be backed up, with a bitmap of what changed where one is named. */
  static source(image: string, socket: string, bitmap: string | null = null): Promise<NbdServer> {
    const tracking = bitmap === null ? [] : ['-B', bitmap];
    return NbdServer.#start(socket, [
      '-r',
      '-f',
      'qcow2',
      ...tracking,
      '--cache=none',
      '--aio=native',
      image,
    ]);
  }

  /** A new, empty qcow2 at `image`. Its server writes with threads: with native AIO, writes that allocate would block it. */
  static async target(image: string, sizeBytes: number, socket: string): Promise<NbdServer> {
    await runQuietly('qemu-img', 'create', '-q', '-f', 'qcow2', image, String(sizeBytes));
    return NbdServer.writable(image, socket);
  }

  /** A qcow2 that is there, with a bitmap that goes on where one is named. */
  static writable(image: string, socket: string, bitmap: string | null = null): Promise<NbdServer> {
    const tracking = bitmap === null ? [] : ['-B', bitmap];
    return NbdServer.#start(socket, ['-f', 'qcow2', ...tracking, '--cache=none', '--aio=threads', image]);
  }

  static async #start(socket: string, args: readonly string[]): Promise<NbdServer> {
    await rm(socket, { force: true });
    const child = spawn('qemu-nbd', ['-k', socket, '-t', '-e', '8', ...args], {
      env: { ...process.env, ...allocatorSettings },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const server = new NbdServer(socket, child);
    endings.add(server.stop);
    for (let waited = 0; !existsSync(socket); waited += 20) {
      if (child.exitCode !== null || waited > startPatienceMs) {
        await server.stop();
        throw new Error(`qemu-nbd ${args.join(' ')} does not serve`);
      }
      await sleep(20);
    }
    return server;
  }

  get pid(): number {
    return this.#process.pid ?? NaN;
  }

  get uri(): string {
    return `nbd+unix:///?socket=${this.socket}`;
  }

  readonly stop = async (): Promise<void> => {
    endings.drop(this.stop);
    if (this.#process.exitCode === null && this.#process.kill()) {
      await new Promise((resolve) => this.#process.once('exit', resolve));
    }
    await rm(this.socket, { force: true });
  };
}
