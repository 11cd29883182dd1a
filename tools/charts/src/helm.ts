import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export const repositoryRoot = fileURLToPath(new URL('../../../../', import.meta.url));
export const chart = join(repositoryRoot, 'helm/casvault');

const run = promisify(execFile);
const timeoutMs = 120_000;

/** The real helm, of the set-up's own or the machine's. */
export class Helm {
  private constructor(readonly path: string) {}

  static async find(): Promise<Helm> {
    const { stdout } = await run(join(repositoryRoot, 'tools/setup/helm.sh'), { timeout: timeoutMs });
    return new Helm(stdout.trim());
  }

  /** Warnings count as errors. Throws with helm's own words. */
  async lint(folder: string, values: readonly string[]): Promise<void> {
    await this.#run('lint', '--strict', folder, ...valuesArguments(values));
  }

  /** The rendered objects as one text; `set` as `a.b=c`. Throws with helm's own words. */
  async template(folder: string, values: readonly string[], set: readonly string[] = []): Promise<string> {
    const sets = set.flatMap((one) => ['--set', one]);
    return this.#run('template', 'casvault', folder, '-n', 'backup', ...valuesArguments(values), ...sets);
  }

  async #run(...args: string[]): Promise<string> {
    const home = join(repositoryRoot, '.var/tools/helm-home');
    await mkdir(home, { recursive: true });
    const env = {
      PATH: process.env['PATH'],
      HELM_CACHE_HOME: home,
      HELM_CONFIG_HOME: home,
      HELM_DATA_HOME: home,
    };
    const { stdout } = await run(this.path, args, { env, timeout: timeoutMs, maxBuffer: 16 * 1024 * 1024 });
    return stdout;
  }
}

const valuesArguments = (files: readonly string[]): string[] => files.flatMap((file) => ['--values', file]);
