import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { createHash } from 'node:crypto';
import { Fault } from '@casvault/contracts';
import { runCommand } from '../process/run-command.js';
import { packCpio, type CpioEntry } from './cpio.js';
import { prepareIdleGuest } from './idle-guest.js';
import { collectModules } from './kernel-modules.js';

/** What a lab guest boots from: a kernel and, with a distribution's, a RAM disk of our own. The files are readable by anyone. */
export interface GuestImage {
  readonly kernel: string;
  readonly initrd: string | null;
}

/** `linux` runs the workload; `idle` is up within a second, writes nothing, and hears its power button. */
export const guestKinds = ['linux', 'idle'] as const;
export type GuestImages = Readonly<Record<(typeof guestKinds)[number], GuestImage>>;

/** Both kinds of guests, made below `cacheDir` where they are not there yet. Throws what `prepareGuest` throws. */
export const prepareGuests = async (cacheDir: string): Promise<GuestImages> => ({
  linux: await prepareGuest(cacheDir),
  idle: { kernel: await prepareIdleGuest(cacheDir), initrd: null },
});

const sources = fileURLToPath(new URL('../../../guest/', import.meta.url));
const sourceFiles = ['init.sh', 'start.S', 'workload.c'] as const;
/** Debian's and Ubuntu's names for the newest small kernel for virtual machines, in the order of preference. */
const kernelPackages = ['linux-image-cloud-amd64', 'linux-image-virtual', 'linux-image-amd64'] as const;
const modules = [
  'virtio_pci',
  'virtio_blk',
  'virtio_scsi',
  'ata_piix',
  'sd_mod',
  'button',
  'evdev',
  'virtio_rng',
] as const;

/**
 * Makes the guest's kernel and RAM disk below `cacheDir`, or takes those that are there: made again only when the guest's
 * sources changed. Downloads distribution packages with apt-get and unpacks them beside; installs nothing. x86-64 only.
 * Throws DEPENDENCY_UNAVAILABLE when no kernel package can be had.
 */
async function prepareGuest(cacheDir: string, signal?: AbortSignal): Promise<GuestImage> {
  const ready = join(cacheDir, `guest-${await sourceKey()}`);
  const image = { kernel: join(ready, 'vmlinuz'), initrd: join(ready, 'initrd.gz') };
  const isThere = async (): Promise<boolean> => (await readdir(ready).catch(() => [])).length === 2;
  if (await isThere()) return image;

  await mkdir(cacheDir, { recursive: true });
  await chmod(cacheDir, 0o755);
  const work = await mkdtemp(join(cacheDir, 'making-'));
  try {
    const tree = await unpackPackages(work, signal);
    const made = join(work, 'made');
    await mkdir(made);
    await copyFile(await findKernel(tree), join(made, 'vmlinuz'));
    await writeFile(join(made, 'initrd.gz'), await makeInitrd(tree, work, signal));
    for (const name of await readdir(made)) await chmod(join(made, name), 0o644);
    await chmod(made, 0o755);
    // Another lab may have made it meanwhile: both are the same.
    await rename(made, ready).catch(async (error: unknown) => {
      if (!(await isThere())) throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return image;
}

async function sourceKey(): Promise<string> {
  const hash = createHash('sha256');
  hash.update(JSON.stringify(modules));
  for (const name of sourceFiles) hash.update(await readFile(join(sources, name)));
  return hash.digest('hex').slice(0, 12);
}

const dependsArgs = ['recommends', 'suggests', 'conflicts', 'breaks', 'replaces', 'enhances', 'pre-depends'];

/** Packages of kernel and modules behind the distribution's name for the newest one; none when it is not known. */
async function packagesBehind(name: string, signal?: AbortSignal): Promise<string[]> {
  const without = dependsArgs.map((kind) => `--no-${kind}`);
  const listed = await runCommand('apt-cache', ['depends', '--recurse', ...without, name], { signal }).catch(
    () => '',
  );
  const found = listed.match(/^linux-(?:image|modules)-\d[^\s:]*/gm) ?? [];
  return [...new Set(found.filter((one) => !one.includes('unsigned')))];
}

async function kernelPackageNames(signal?: AbortSignal): Promise<string[]> {
  for (const name of kernelPackages) {
    const found = await packagesBehind(name, signal);
    if (found.length > 0) return found;
  }
  return [];
}

async function download(work: string, names: readonly string[], signal?: AbortSignal): Promise<void> {
  const options = ['-q', '-o', 'APT::Sandbox::User=root'];
  await runCommand('apt-get', ['download', ...options, ...names], { cwd: work, signal, timeoutMs: 300_000 });
}

/** Downloads what the guest is made of and unpacks it into one tree. Fresh machines often have no package lists yet. */
async function unpackPackages(work: string, signal?: AbortSignal): Promise<string> {
  const tree = join(work, 'tree');
  await mkdir(tree);
  try {
    await downloadAll(work, signal);
  } catch {
    await runCommand('apt-get', ['update', '-qq'], { signal, timeoutMs: 300_000 });
    await downloadAll(work, signal);
  }
  for (const file of (await readdir(work)).filter((name) => name.endsWith('.deb'))) {
    await runCommand('dpkg', ['-x', join(work, file), tree], { signal });
  }
  return tree;
}

async function downloadAll(work: string, signal?: AbortSignal): Promise<void> {
  const kernel = await kernelPackageNames(signal);
  if (kernel.length === 0) {
    throw new Fault(
      'DEPENDENCY_UNAVAILABLE',
      `no kernel package for the lab's guests: apt knows none of ${kernelPackages.join(', ')}`,
    );
  }
  await download(work, [...kernel, 'busybox-static'], signal);
  // Where there is no tcc, the machine's own compiler serves.
  await download(work, ['tcc'], signal).catch(() => undefined);
}

async function findKernel(tree: string): Promise<string> {
  const name = (await readdir(join(tree, 'boot'))).find((file) => file.startsWith('vmlinuz-'));
  if (name === undefined)
    throw new Fault('DEPENDENCY_UNAVAILABLE', 'the kernel package holds no boot/vmlinuz-*');
  return join(tree, 'boot', name);
}

/** The folder that holds `lib/modules/<version>`; on merged-usr systems it lies below `usr`. */
async function modulesDir(tree: string): Promise<string> {
  for (const dir of [join(tree, 'lib/modules'), join(tree, 'usr/lib/modules')]) {
    const [version] = await readdir(dir).catch(() => []);
    if (version !== undefined) return join(dir, version);
  }
  throw new Fault('DEPENDENCY_UNAVAILABLE', 'the kernel packages hold no lib/modules');
}

/** One static program without libraries: the small compiler of the package tcc makes it, else the machine's cc. */
async function compileWorkload(tree: string, work: string, signal?: AbortSignal): Promise<Buffer> {
  const out = join(work, 'workload');
  const inputs = [join(sources, 'start.S'), join(sources, 'workload.c')];
  const library = join(tree, 'usr/lib/x86_64-linux-gnu/tcc');
  const common = ['-static', '-nostdlib', '-o', out, ...inputs];
  try {
    await runCommand(join(tree, 'usr/bin/tcc'), [`-B${library}`, ...common], { signal });
  } catch {
    const freestanding = ['-O1', '-ffreestanding', '-fno-stack-protector', '-fno-pie', '-no-pie'];
    await runCommand('cc', [...freestanding, '-Wa,--noexecstack', ...common], { signal });
  }
  return await readFile(out);
}

async function findBusybox(tree: string): Promise<Buffer> {
  for (const path of ['bin/busybox', 'usr/bin/busybox']) {
    const found = await readFile(join(tree, path)).catch(() => null);
    if (found) return found;
  }
  throw new Fault('DEPENDENCY_UNAVAILABLE', 'the package busybox-static holds no busybox');
}

const folder = (path: string): CpioEntry => ({ path, mode: 0o040755, content: Buffer.alloc(0) });
const file = (path: string, mode: number, content: Buffer): CpioEntry => ({
  path,
  mode: 0o100000 | mode,
  content,
});

async function makeInitrd(tree: string, work: string, signal?: AbortSignal): Promise<Buffer> {
  const loaded = await collectModules(await modulesDir(tree), modules);
  const order = loaded.map(({ name }) => `${name}.ko\n`).join('');
  const entries = [
    ...['bin', 'dev', 'proc', 'sys', 'mod', 'tmp'].map(folder),
    {
      path: 'dev/console',
      mode: 0o020600,
      content: Buffer.alloc(0),
      device: { major: 5, minor: 1 },
    },
    file('init', 0o755, await readFile(join(sources, 'init.sh'))),
    file('workload', 0o755, await compileWorkload(tree, work, signal)),
    file('bin/busybox', 0o755, await findBusybox(tree)),
    file('mod/order', 0o644, Buffer.from(order)),
    ...loaded.map(({ name, content }) => file(`mod/${name}.ko`, 0o644, content)),
  ];
  return gzipSync(packCpio(entries), { level: 6 });
}
