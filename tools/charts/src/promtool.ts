import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { type PromtoolTest, type RuleGroup } from './alert-rules.js';
import { repositoryRoot } from './helm.js';

const run = promisify(execFile);
const timeoutMs = 120_000;

/** The real promtool, of the set-up's own or the machine's. */
export class Promtool {
  private constructor(readonly path: string) {}

  static async find(): Promise<Promtool> {
    const { stdout } = await run(join(repositoryRoot, 'tools/setup/prometheus.sh'), { timeout: timeoutMs });
    return new Promtool(join(stdout.trim(), 'promtool'));
  }

  /** Throws with promtool's own words. */
  async checkRules(file: string): Promise<void> {
    await this.#run('check', 'rules', file);
  }

  /** Each of `tests` over `rules`. Throws with promtool's own words. */
  async testRules(rules: readonly RuleGroup[], tests: readonly PromtoolTest[]): Promise<void> {
    await this.#inFolder(async (write) => {
      const rule_files = [await write('rules.yaml', { groups: rules })];
      const files: string[] = [];
      for (const [index, test] of tests.entries())
        files.push(await write(`test-${String(index)}.yaml`, { rule_files, ...test }));
      await this.#run('test', 'rules', ...files);
    });
  }

  /** Throws for a query that Prometheus cannot read. */
  async checkQueries(queries: readonly string[]): Promise<void> {
    const rules = queries.map((expr, index) => ({ record: `query:number${String(index)}`, expr }));
    await this.#inFolder(async (write) =>
      this.checkRules(await write('queries.yaml', { groups: [{ name: 'queries', rules }] })),
    );
  }

  async #inFolder(
    work: (write: (name: string, content: unknown) => Promise<string>) => Promise<void>,
  ): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), 'casvault-promtool-'));
    try {
      await work(async (name, content) => {
        await writeFile(join(folder, name), stringify(content));
        return join(folder, name);
      });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async #run(...args: string[]): Promise<void> {
    try {
      await run(this.path, args, { timeout: timeoutMs, maxBuffer: 16 * 1024 * 1024 });
    } catch (error) {
      const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
      throw new Error(`promtool ${args.join(' ')}:\n${stdout}${stderr}`, { cause: error });
    }
  }
}
