import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { until } from '@casvault/testkit';
import { bitmaps, type ChangedDisk } from './changed-disk.js';
import { runQuietly, storedMiB } from './command.js';
import { endings } from './endings.js';
import { type Contestant, type Figures } from './figures.js';
import { names } from './goals.js';
import { busyCpuS, peakRssMiB, processCpuS } from './machine.js';

/** QEMU's backup job with its bitmap into a qcow2 compressed with zstd: no hashes, no deduplication, nothing verified. Only the job is timed. */
export class QemuJob implements Contestant {
  readonly name = names.qemuJob;
  readonly #disk: ChangedDisk;
  readonly #dir: string;

  constructor(disk: ChangedDisk, dir: string) {
    this.#disk = disk;
    this.#dir = join(dir, 'qemu-job');
  }

  async begin(): Promise<void> {
    await mkdir(this.#dir, { recursive: true });
  }

  readonly steps = {
    incremental: async (): Promise<Figures> => {
      const copy = join(this.#dir, 'incremental.qcow2');
      const settings = ['-f', 'qcow2', '-o', 'compression_type=zstd'];
      await runQuietly('qemu-img', 'create', '-q', ...settings, copy, String(this.#disk.sizeBytes));
      const daemon = await StorageDaemon.start(join(this.#dir, 'qmp.sock'), [
        ...node('source', this.#disk.qcow2),
        ...node('target', copy),
      ]);
      try {
        const figures = await daemon.backUp();
        return { ...figures, storedMiB: await storedMiB(copy) };
      } finally {
        await daemon.stop();
        await rm(copy, { force: true });
      }
    },
  };

  async end(): Promise<void> {
    await rm(this.#dir, { recursive: true, force: true });
  }
}

/** Past the page cache, as ours reads. */
const node = (name: string, file: string): string[] => [
  '--blockdev',
  `driver=file,node-name=${name}-file,filename=${file},cache.direct=on,aio=native`,
  '--blockdev',
  `driver=qcow2,node-name=${name},file=${name}-file`,
];

interface Answer {
  readonly return?: unknown;
  readonly error?: { readonly desc: string };
  readonly event?: string;
  readonly data?: { readonly error?: string };
}

class StorageDaemon {
  readonly #process: ChildProcess;
  readonly #socket: Socket;
  readonly #lines: Interface;
  readonly #answers: AsyncIterator<string>;

  private constructor(process: ChildProcess, socket: Socket) {
    this.#process = process;
    this.#socket = socket;
    this.#lines = createInterface(socket);
    this.#answers = this.#lines[Symbol.asyncIterator]();
    endings.add(this.stop);
  }

  static async start(path: string, nodes: readonly string[]): Promise<StorageDaemon> {
    await rm(path, { force: true });
    const monitor = ['--chardev', `socket,id=c,path=${path},server=on,wait=off`, '--monitor', 'chardev=c'];
    const child = spawn('qemu-storage-daemon', [...monitor, ...nodes], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const socket = await until(() => connected(path));
    const daemon = new StorageDaemon(child, socket);
    await daemon.#nextThat((answer) => 'QMP' in answer);
    await daemon.#execute('qmp_capabilities', {});
    return daemon;
  }

  async backUp(): Promise<Omit<Figures, 'storedMiB'>> {
    const pid = this.#process.pid ?? NaN;
    const [busy, used, begun] = [busyCpuS(), processCpuS(pid), performance.now()];
    await this.#execute('blockdev-backup', {
      'job-id': 'job',
      device: 'source',
      target: 'target',
      sync: 'bitmap',
      bitmap: bitmaps.before,
      'bitmap-mode': 'never',
      compress: true,
      'x-perf': { 'max-workers': 64 },
    });
    const { data } = await this.#nextThat(({ event }) => event === 'BLOCK_JOB_COMPLETED');
    const wallS = (performance.now() - begun) / 1000;
    if (data?.error !== undefined) throw new Error(`QEMU's job failed: ${data.error}`);
    const cpuS = processCpuS(pid) - used;
    const othersCpuS = Math.max(0, busyCpuS() - busy - cpuS);
    return { wallS, cpuS, serverCpuS: null, peakRssMiB: peakRssMiB(pid), readMiB: null, othersCpuS };
  }

  readonly stop = async (): Promise<void> => {
    endings.drop(this.stop);
    this.#lines.close();
    this.#socket.destroy();
    if (this.#process.exitCode === null && this.#process.kill()) await once(this.#process, 'exit');
  };

  async #execute(command: string, options: object): Promise<void> {
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: options })}\n`);
    const { error } = await this.#nextThat((answer) => 'return' in answer || 'error' in answer);
    if (error !== undefined) throw new Error(`QEMU refuses ${command}: ${error.desc}`);
  }

  async #nextThat(isWanted: (answer: Answer) => boolean): Promise<Answer> {
    for (;;) {
      const line = await this.#answers.next();
      if (line.done === true) throw new Error('qemu-storage-daemon hung up');
      const answer = JSON.parse(line.value) as Answer;
      if (isWanted(answer)) return answer;
    }
  }
}

const connected = (path: string): Promise<Socket | null> =>
  new Promise((resolve) => {
    const socket = connect(path, () => resolve(socket));
    socket.once('error', () => resolve(null));
  });
