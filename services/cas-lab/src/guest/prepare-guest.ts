import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { createHash } from 'node:crypto';
import { Fault } from '@casvault/contracts';
import { runCommand } from '../process/run-command.js';
import { packCpio, type CpioEntry } from './cpio.js';
import { collectModules } from './kernel-modules.js';

/** What a lab guest boots from: a distribution's kernel and a RAM disk of our own. Both files are readable by anyone. */
export interface GuestImage {
  readonly kernel: string;
  readonly initrd: string;
}

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
export async function prepareGuest(cacheDir: string, signal?: AbortSignal): Promise<GuestImage> {
  const key = await sourceKey();
  const ready = join(cacheDir, `guest-${key}`);
  const image = { kernel: join(ready, 'vmlinuz'), initrd: join(ready, 'initrd.gz') };
  if ((await readdir(ready).catch(() => [])).length === 2) return image;

  await mkdir(cacheDir, { recursive: true });
  const work = await mkdtemp(join(cacheDir, 'making-'));
  try {
    const tree = await unpackPackages(work, signal);
    const made = join(work, 'made');
    await mkdir(made);
    await copyFile(await findKernel(tree), join(made, 'vmlinuz'));
    await writeFile(join(made, 'initrd.gz'), await makeInitrd(tree, work, signal));
    await chmod(join(made, 'vmlinuz'), 0o644);
    await chmod(made, 0o755);
    await rm(ready, { recursive: true, force: true });
    await rename(made, ready);
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

/** Packages of kernel and modules behind the distribution's name for the newest one, with the name itself. */
async function kernelPackageNames(signal?: AbortSignal): Promise<string[]> {
  for (const name of kernelPackages) {
    const args = [
      'depends',
      '--recurse',
      '--no-recommends',
      '--no-suggests',
      '--no-conflicts',
      '--no-breaks',
    ];
    const listed = await runCommand(
      'apt-cache',
      [...args, '--no-replaces', '--no-enhances', '--no-pre-depends', name],
      {
        signal,
      },
    ).catch(() => '');
    const found = new Set(
      listed.match(/^linux-(?:image|modules)-\d[^\s:]*/gm)?.filter((one) => !one.includes('unsigned')),
    );
    if (found.size > 0) return [...found];
  }
  throw new Fault(
    'DEPENDENCY_UNAVAILABLE',
    `no kernel package for the lab's guests among ${kernelPackages.join(', ')}: run apt-get update`,
  );
}

/** Downloads what the guest is made of and unpacks it into one tree. */
async function unpackPackages(work: string, signal?: AbortSignal): Promise<string> {
  const tree = join(work, 'tree');
  await mkdir(tree);
  const names = [...(await kernelPackageNames(signal)), 'busybox-static', 'tcc'];
  await runCommand('apt-get', ['download', '-q', '-o', 'APT::Sandbox::User=root', ...names], {
    cwd: work,
    signal,
    timeoutMs: 300_000,
  });
  for (const file of (await readdir(work)).filter((name) => name.endsWith('.deb'))) {
    await runCommand('dpkg', ['-x', join(work, file), tree], { signal });
  }
  return tree;
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

async function compileWorkload(tree: string, work: string, signal?: AbortSignal): Promise<Buffer> {
  const out = join(work, 'workload');
  const inputs = [join(sources, 'start.S'), join(sources, 'workload.c')];
  const library = join(tree, 'usr/lib/x86_64-linux-gnu/tcc');
  await runCommand(
    join(tree, 'usr/bin/tcc'),
    [`-B${library}`, '-static', '-nostdlib', '-o', out, ...inputs],
    { signal },
  );
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
