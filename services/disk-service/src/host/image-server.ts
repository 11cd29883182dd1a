import { spawn } from 'node:child_process';
import { mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { Fault } from '@casvault/contracts';
import { endProcesses, findProcesses } from './process-table.js';
import { logFile, pidFile, runDir, type HostFolders } from './names.js';

/** One image served by one qemu-nbd. */
export interface ServedImage {
  /** `<openingId>-<target>` */
  readonly name: string;
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
  readonly exportName: string;
  readonly writable: boolean;
  readonly address: string;
  readonly port: number;
  /** Shown as `qemu:dirty-bitmap:<name>`. */
  readonly bitmap: string | null;
  /** Read beside a VM that may have the image open: what is served must be frozen. Else the image is locked. */
  readonly frozen: { readonly snapshotId: string | null; readonly isBlock: boolean } | null;
}

/** `port-taken`: try the next one. */
export type StartOutcome = 'serving' | 'port-taken';

/** Connections at a time to one image; a mover opens a few. */
const sharedBy = 32;
const readerPatienceMs = 5_000;
/** A writer flushes up to its whole cache to the disk on its way out. */
const writerPatienceMs = 120_000;

const executable = 'qemu-nbd';
/**
 * qemu-nbd allocates each request whole, and by default its allocator gives that memory back to the system after the request, only to
 * fault it in again: a third of its CPU when it writes. So it keeps up to 64 MiB.
 */
const allocatorSettings = ['MALLOC_MMAP_THRESHOLD_=33554432', 'MALLOC_TRIM_THRESHOLD_=67108864'];
/** What `env` ends with when there is no such program. */
const notFound = 127;
/** A shared file system that hangs must not hang the service. */
const startTimeoutMs = 60_000;
const pidOption = (folders: HostFolders, name: string): string => `--pid-file=${pidFile(folders, name)}`;

/**
 * The command line. `--fork` puts the server in the background once it listens: it outlives this service, so a restart of
 * the service does not end a transfer. The page cache is bypassed (`none`: neither a backup nor a restore must push the host's
 * memory out, a reader takes half the CPU, and a flush says what it means). A reader has native AIO; a writer threads, as native
 * writes that allocate block it. Zeroes are the client's to tell (WRITE_ZEROES), so looking for them is off.
 */
export function serverArguments(
  folders: HostFolders,
  image: ServedImage,
  tlsDir: string | null,
  cache: 'none' | 'writeback',
): string[] {
  const mode = image.writable
    ? ['--aio=threads', '--discard=unmap', '--detect-zeroes=off']
    : ['--read-only', `--aio=${cache === 'none' ? 'native' : 'threads'}`];
  const bitmap = image.bitmap === null ? [] : [`--bitmap=${image.bitmap}`];
  const tls =
    tlsDir === null
      ? []
      : [
          '--object',
          `tls-creds-x509,id=tls0,endpoint=server,verify-peer=on,dir=${tlsDir}`,
          '--tls-creds=tls0',
        ];
  return [
    '--fork',
    pidOption(folders, image.name),
    '--persistent',
    `--shared=${String(sharedBy)}`,
    `--bind=${image.address}`,
    `--port=${String(image.port)}`,
    `--export-name=${image.exportName}`,
    `--cache=${cache}`,
    ...mode,
    ...bitmap,
    ...tls,
    ...source(image),
  ];
}

/** Text within a list of options: a comma is doubled. */
const quoted = (text: string): string => text.replaceAll(',', ',,');

/** The image, or (`force-share`) one that is open elsewhere; an internal snapshot by its id alone: names are the platform's. */
function source({ path, format, frozen }: ServedImage): string[] {
  if (frozen === null) return [`--format=${format}`, '--', path];
  const { snapshotId, isBlock } = frozen;
  const file = `file.driver=${isBlock ? 'host_device' : 'file'},file.filename=${quoted(path)}`;
  return [
    ...(snapshotId === null ? [] : [`--load-snapshot=snapshot.id=${quoted(snapshotId)}`]),
    '--image-opts',
    '--',
    `driver=${format},force-share=on,${file}`,
  ];
}

/** qemu-nbd processes of this service, known by their command line alone. */
export class ImageServers {
  readonly #folders: HostFolders;
  readonly #tlsDir: string | null;

  constructor(folders: HostFolders, tlsDir: string | null) {
    this.#folders = folders;
    this.#tlsDir = tlsDir;
  }

  async prepare(): Promise<void> {
    await mkdir(runDir(this.#folders), { recursive: true, mode: 0o700 });
  }

  /** Serves the image. Throws DISK_SERVICE_REFUSED with qemu-nbd's words: locked by a VM, not readable, no such bitmap. */
  async start(image: ServedImage): Promise<StartOutcome> {
    const first = await this.#launch(image, 'none');
    // tmpfs and some network file systems have no O_DIRECT, some builds of QEMU no native AIO.
    const said = /O_DIRECT|aio=native/i.test(first ?? '') ? await this.#launch(image, 'writeback') : first;
    if (said === null) return 'serving';
    if (/Address already in use/i.test(said)) return 'port-taken';
    throw new Fault('DISK_SERVICE_REFUSED', `disk ${image.path} can't be opened: ${said}`, {
      details: { path: image.path },
    });
  }

  async isServing(name: string): Promise<boolean> {
    return (
      (await findProcesses(this.#is((argv) => argv.includes(pidOption(this.#folders, name))))).length > 0
    );
  }

  /** Ends the servers, all at once, and removes their files. None there is no error. */
  async stop(names: readonly string[], writable: boolean): Promise<void> {
    const options = new Set(names.map((name) => pidOption(this.#folders, name)));
    await endProcesses(
      this.#is((argv) => argv.some((arg) => options.has(arg))),
      writable ? writerPatienceMs : readerPatienceMs,
    );
    for (const name of names) {
      await rm(pidFile(this.#folders, name), { force: true });
      await rm(logFile(this.#folders, name), { force: true });
    }
  }

  /** Names of all servers of this service: those that run, and those that left a file. */
  async names(): Promise<string[]> {
    const prefix = pidOption(this.#folders, '').replace(/\.pid$/, '');
    const running = await findProcesses(this.#is((argv) => argv.some((arg) => arg.startsWith(prefix))));
    const found = new Set<string>();
    for (const { argv } of running) {
      const option = argv.find((arg) => arg.startsWith(prefix));
      if (option !== undefined) found.add(basename(option, '.pid'));
    }
    for (const file of await readdir(runDir(this.#folders))) {
      if (/\.(pid|log)$/.test(file)) found.add(file.replace(/\.(pid|log)$/, ''));
    }
    return [...found];
  }

  #is(also: (argv: readonly string[]) => boolean): (argv: readonly string[]) => boolean {
    return (argv) => basename(argv[0] ?? '') === executable && also(argv);
  }

  /** Null when it serves, else what qemu-nbd said. Its words go to a file: a pipe would be held open by the server. */
  async #launch(image: ServedImage, cache: 'none' | 'writeback'): Promise<string | null> {
    const path = logFile(this.#folders, image.name);
    const log = await open(path, 'w', 0o600);
    try {
      const code = await new Promise<number | null>((resolve, reject) => {
        const server = [executable, ...serverArguments(this.#folders, image, this.#tlsDir, cache)];
        const child = spawn('env', [...allocatorSettings, ...server], {
          stdio: ['ignore', 'ignore', log.fd],
          detached: true,
          cwd: '/',
          timeout: startTimeoutMs,
        });
        child.once('error', reject);
        child.once('exit', resolve);
      }).catch((cause: unknown) => {
        throw new Fault('DEPENDENCY_UNAVAILABLE', `${executable} can't be run: ${String(cause)}`, { cause });
      });
      if (code === 0) return null;
      if (code === notFound) throw new Fault('DEPENDENCY_UNAVAILABLE', `${executable} is not installed`);
    } finally {
      await log.close();
    }
    const said = (await readFile(path, 'utf8'))
      .replace(/^qemu-nbd: /gm, '')
      .trim()
      .slice(0, 1_000);
    return said === '' ? 'qemu-nbd failed without a word' : said;
  }
}
