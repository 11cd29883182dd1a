import { execFile } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { RunningProcess, tempDir, until, type TempDir } from '@casvault/testkit';

export const mib = 1_048_576;
const stepBytes = 4 * mib;

export const command = async (name: string, ...args: string[]): Promise<string> =>
  (await promisify(execFile)(name, args, { maxBuffer: 64 * mib })).stdout;

/** Bytes like those of a disk, the same for the same seed: 4 KiB pieces by turns random, text-like and zero. */
export function* diskContent(seed: number, length: number): Generator<Buffer> {
  const stream = createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16, 1));
  for (let at = 0; at < length; at += stepBytes) {
    const part = stream.update(Buffer.alloc(Math.min(stepBytes, length - at)));
    for (let piece = 0; piece < part.length; piece += 12_288) {
      const text = part.subarray(piece + 4_096, piece + 8_192);
      for (let i = 0; i < text.length; i += 1) text[i] = 97 + (text[i]! & 15);
      if (piece % 36_864 === 0) part.fill(0, piece + 8_192, piece + 12_288);
    }
    yield part;
  }
}

/** Disks, exports and a directory of one test; `close` ends and removes all of it. */
export class Bench {
  readonly #running: RunningProcess[] = [];
  readonly #dir: TempDir;
  #sockets = 0;

  private constructor(dir: TempDir) {
    this.#dir = dir;
  }

  static async open(): Promise<Bench> {
    return new Bench(await tempDir('data-path'));
  }

  path(name: string): string {
    return join(this.#dir.path, name);
  }

  async close(): Promise<void> {
    for (const process of this.#running) await process.kill9();
    await this.#dir.remove();
  }

  /** Writes content into a raw file, which is as long as `sizeBytes` and sparse otherwise. */
  async raw(
    name: string,
    sizeBytes: number,
    ...content: { at: number; length: number; seed: number }[]
  ): Promise<string> {
    const path = this.path(name);
    const file = await open(path, existsSync(path) ? 'r+' : 'w');
    try {
      await file.truncate(sizeBytes);
      for (const { at, length, seed } of content) {
        let position = at;
        for (const part of diskContent(seed, length)) {
          await file.write(part, 0, part.length, position);
          position += part.length;
        }
      }
    } finally {
      await file.close();
    }
    return path;
  }

  /** A qcow2 image of a raw file; its zeros are holes. */
  async qcow2(name: string, raw: string): Promise<string> {
    await command('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, this.path(name));
    return this.path(name);
  }

  async emptyImage(name: string, format: 'qcow2' | 'raw', sizeBytes: number): Promise<string> {
    await command('qemu-img', 'create', '-q', '-f', format, this.path(name), String(sizeBytes));
    return this.path(name);
  }

  serveReadOnly(image: string, format: string, ...args: string[]): Promise<Served> {
    return this.#serve('qemu-nbd', '-r', '-t', '-e', '8', '-f', format, ...args, image);
  }

  serveWritable(image: string, format: string, ...args: string[]): Promise<Served> {
    return this.#serve('qemu-nbd', '-t', '-e', '8', '-f', format, ...args, image);
  }

  /** nbdkit keeps odd sizes to the byte, and can be slow or faulty. */
  nbdkit(...args: string[]): Promise<Served> {
    return this.#serve('nbdkit', '-f', ...args);
  }

  async #serve(name: 'qemu-nbd' | 'nbdkit', ...args: string[]): Promise<Served> {
    const path = this.path(`${(this.#sockets += 1)}.sock`);
    const process = new RunningProcess(name, [name === 'nbdkit' ? '-U' : '-k', path, ...args]);
    this.#running.push(process);
    await until(() =>
      answers(path).then((yes) => yes || (!process.running && Promise.reject(new Error(process.output)))),
    );
    return { endpoint: { path, exportName: '' }, process };
  }

  /** Nothing, or what differs between two images. */
  async compare(a: string, aFormat: string, b: string, bFormat: string): Promise<string> {
    const said = await command('qemu-img', 'compare', '-f', aFormat, '-F', bFormat, a, b);
    return said.includes('identical') ? '' : said;
  }
}

/** Whether somebody listens at a socket: its file is there a moment before. */
const answers = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => {
      resolve(false);
    });
  });

export interface Served {
  readonly endpoint: { readonly path: string; readonly exportName: string };
  readonly process: RunningProcess;
}
