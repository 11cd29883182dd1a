import { execFile } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { connect } from 'node:net';
import { promisify } from 'node:util';
import { backupPoint, createRepository, type BackupRequest, type NewRepository } from '@casvault/data-path';
import { openObjectStore } from '@casvault/object-store';
import { RunningProcess, until } from '@casvault/testkit';

export const mib = 1_048_576;
export const chainId = '0192f0c0-0000-7000-8000-00000000cccc';
export const pointId = (number: number): string => `0192f0c0-0000-7000-8000-00010000000${number}`;
const writerId = (number: number): string => `0192f0c0-0000-7000-8000-00020000000${number}`;
const instant = (number: number): string => `2026-01-02T03:04:0${number}.000Z`;

export const command = async (name: string, ...args: string[]): Promise<string> =>
  (await promisify(execFile)(name, args)).stdout;

/** Bytes that are the same for the same seed; every other 4 KiB compress well. */
export async function writeContent(
  path: string,
  at: number,
  length: number,
  seed: number,
  sizeBytes: number,
): Promise<void> {
  const content = createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16)).update(
    Buffer.alloc(length),
  );
  for (let i = 4_096; i + 4_096 <= length; i += 8_192) content.fill('casvault', i, i + 4_096);
  const file = await open(path, existsSync(path) ? 'r+' : 'w');
  try {
    await file.truncate(sizeBytes);
    await file.write(content, 0, length, at);
  } finally {
    await file.close();
  }
}

/** A disk as one instant shows it. */
export interface SourceDisk {
  readonly target: string;
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
}

/** A pool that the product writes, in a directory of the test. */
export class ProductPool {
  readonly #running: RunningProcess[] = [];
  #exports = 0;

  constructor(
    readonly path: string,
    private readonly settings: Pick<NewRepository, 'hash' | 'dedupScope' | 'key'>,
  ) {}

  async create(): Promise<void> {
    await mkdir(this.path, { recursive: true });
    const store = openObjectStore({ kind: 'fs', path: this.path });
    await createRepository(store, {
      repositoryId: '0192f0c0-0000-7000-8000-00000000aaaa',
      createdAt: new Date(instant(0)),
      ...this.settings,
    });
    await store.close();
  }

  /** Point `number` of the chain; every one but the first builds on the one before. */
  async backup(number: number, disks: readonly SourceDisk[]): Promise<void> {
    const sources: BackupRequest['disks'][number][] = [];
    for (const [i, { target, path, format }] of disks.entries()) {
      const source = { path: await this.#serve(path, format), exportName: '' };
      const diskId = `0192f0c0-0000-7000-8000-00030000000${i}`;
      sources.push({ target, diskId, role: i === 0 ? 'system' : 'data', bus: 'virtio', format, source });
    }
    const vm = { vmId: chainId, uuid: chainId, name: 'web-1', platformName: 'lab', platformVersion: 'E0730' };
    await backupPoint(
      {
        location: { kind: 'fs', path: this.path },
        key: this.settings.key ?? null,
        chainId,
        pointId: pointId(number),
        kind: number === 1 ? 'full' : 'incremental',
        writerId: writerId(number),
        earlierWriters: [],
        parentPointId: number === 1 ? null : pointId(number - 1),
        createdAt: instant(number),
        facts: { capturedAt: instant(number), method: 'live', vm, configuration: { cpus: 2 } },
        disks: sources,
        compression: { mode: 'fast' },
        disksInParallel: 1,
        streamsPerDisk: 1,
        readBytes: mib,
      },
      { signal: new AbortController().signal },
    );
    await this.close();
  }

  async close(): Promise<void> {
    for (const process of this.#running.splice(0)) await process.stop();
  }

  /** The socket of a read-only export. nbdkit serves raw files: it keeps odd sizes to the byte, qemu-nbd does not. */
  async #serve(path: string, format: SourceDisk['format']): Promise<string> {
    const socket = `${this.path}-${(this.#exports += 1)}.sock`;
    const process =
      format === 'qcow2'
        ? new RunningProcess('qemu-nbd', ['-k', socket, '-r', '-t', '-e', '8', '-f', format, path])
        : new RunningProcess('nbdkit', ['-f', '-r', '-U', socket, 'file', path]);
    this.#running.push(process);
    await until(async () => {
      if (!process.running) throw new Error(process.output);
      return listensAt(socket);
    });
    return socket;
  }
}

/** A socket's file is there a moment before somebody listens. */
const listensAt = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
