import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { at, branches, list, text, titleOf, type Branch, type Manifest } from './manifest.js';
import { containersOf, podOf, workloads } from './policy.js';

/** What a service is started with. */
export interface StartOf {
  readonly title: string;
  readonly service: string;
  readonly env: Readonly<Record<string, string>>;
}
/** What the service's own reader of the environment makes of it. */
export interface ConfigAnswer {
  /** Names that it looked for. */
  readonly read: readonly string[];
  /** Why it would end with 78. */
  readonly problems: readonly string[];
}

/** Values of the kind that a secret holds; of other names anything will do. */
const samples: Readonly<Record<string, string>> = {
  CASVAULT_SEALING_KEY_FILE: Buffer.alloc(32, 1).toString('base64'),
  CASVAULT_NATS_URL_FILE: 'nats://casvault:secret@nats:4222',
  CASVAULT_DATABASE_URL_FILE: 'postgres://role:secret@postgres:5432/casvault',
};
const fields: Readonly<Record<string, string>> = {
  'metadata.name': 'mover-7c9f',
  'status.podIP': '10.1.2.3',
};

/** What the services themselves say to the environment that a chart gives them. */
export interface ConfigFindings {
  /** Variables that a service does not know, values that it refuses, files that no volume brings. */
  readonly problems: readonly string[];
  /** Variables that services look for and no container sets, by any values: the chart has no setting for them. */
  readonly unset: readonly string[];
}

/** Read by Node itself, before the service. */
const ofNode = 'NODE_OPTIONS';

/**
 * Reads the environment of every container of the product's image by the compiled services' own readers, with samples where
 * secrets would be.
 */
export const judgeConfig = async (manifests: readonly Manifest[]): Promise<ConfigFindings> => {
  const folder = await mkdtemp(join(tmpdir(), 'casvault-config-'));
  try {
    const problems: string[] = [];
    const starts: StartOf[] = [];
    for (const workload of workloads(manifests))
      for (const container of containersOf(workload).filter(isOurs)) {
        const { start, missing } = await startOf(workload, container, folder);
        starts.push(start);
        problems.push(...missing);
      }
    const answers = await askServices(starts);
    for (const [index, { title, env }] of starts.entries()) {
      const answer = answers[index] ?? { read: [], problems: ['no answer'] };
      const unknown = Object.keys(env).filter((name) => name !== ofNode && !answer.read.includes(name));
      problems.push(...unknown.map((name) => `${title}: ${name} is not known to the service`));
      problems.push(...answer.problems.map((problem) => `${title}: ${problem}`));
    }
    const set = new Set(starts.flatMap(({ env }) => Object.keys(env).map(plain)));
    const read = new Set(answers.flatMap((answer) => answer.read.map(plain)));
    return { problems, unset: [...read].filter((name) => !set.has(name)).sort() };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
};

/** Every variable may also come as a file: one setting under two names. */
const plain = (name: string): string => name.replace(/(_FILE)+$/, '');

/** Ours are told what to be by their first argument; the servers of a trial have an environment of their own. */
const isOurs = (container: Branch): boolean =>
  branches(container['env']).some(({ name }) => text(name).startsWith('CASVAULT_'));

const startOf = async (
  workload: Manifest,
  container: Branch,
  folder: string,
): Promise<{ start: StartOf; missing: string[] }> => {
  const title = titleOf(workload);
  const files = secretFiles(workload, container);
  const missing: string[] = [];
  const env: Record<string, string> = {};
  for (const variable of branches(container['env'])) {
    const name = text(variable['name']);
    const value = text(variable['value']);
    if (value.startsWith('/run/secrets/')) {
      if (!files.has(value)) missing.push(`${title}: ${name}: no volume brings ${value}`);
      env[name] = join(folder, name);
      await writeFile(env[name], samples[name] ?? 'sample');
    } else env[name] = fields[text(at(variable, 'valueFrom', 'fieldRef', 'fieldPath'))] ?? value;
  }
  const service = text(list(container['args'])[0]);
  return { start: { title, service, env }, missing };
};

/** Paths at which projected secrets appear in the container. */
const secretFiles = (workload: Manifest, container: Branch): Set<string> => {
  const paths = new Set<string>();
  for (const mount of branches(container['volumeMounts'])) {
    const volume = branches(podOf(workload)['volumes']).find(({ name }) => name === mount['name']);
    for (const source of branches(at(volume, 'projected', 'sources')))
      for (const item of branches(at(source, 'secret', 'items')))
        paths.add(`${text(mount['mountPath'])}/${text(item['path'])}`);
  }
  return paths;
};

/** Asks in a process of its own: a service's configuration reads that process's environment. Answers in the order of `starts`. */
const askServices = async (starts: readonly StartOf[]): Promise<ConfigAnswer[]> => {
  const cli = fileURLToPath(new URL('./cli.js', import.meta.url));
  const child = spawn(process.execPath, ['--no-warnings', cli, 'read-config'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.end(JSON.stringify(starts));
  const chunks: Buffer[] = [];
  for await (const chunk of child.stdout) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString()) as ConfigAnswer[];
};
