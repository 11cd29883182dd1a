import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, tempDir } from './place.js';
import { RunningProcess } from './process.js';

const script = fileURLToPath(new URL('../../../../tools/setup/prometheus.sh', import.meta.url));

export interface Prometheus extends AsyncDisposable {
  /** What its HTTP API answers at `/api/v1/<path>`; throws where it refuses. */
  ask(path: string, query: Readonly<Record<string, string>>): Promise<unknown>;
}

/** A real Prometheus on loopback that scrapes `targets` (host and port) every second and keeps exemplars. */
export const startPrometheus = async (targets: readonly string[]): Promise<Prometheus> => {
  const folder = execFileSync(script, { encoding: 'utf8' }).trim();
  const dir = await tempDir('prometheus');
  const config = {
    global: { scrape_interval: '1s', scrape_timeout: '1s' },
    scrape_configs: [{ job_name: 'casvault', static_configs: [{ targets }] }],
  };
  // JSON is YAML.
  await writeFile(join(dir.path, 'prometheus.yml'), JSON.stringify(config));
  const address = `127.0.0.1:${await freePort()}`;
  const server = new RunningProcess(join(folder, 'prometheus'), [
    `--config.file=${join(dir.path, 'prometheus.yml')}`,
    `--storage.tsdb.path=${join(dir.path, 'data')}`,
    `--web.listen-address=${address}`,
    '--enable-feature=exemplar-storage',
  ]);
  await server.sees(/Server is ready to receive web requests/);
  return {
    ask: async (path, query) => {
      const response = await fetch(
        `http://${address}/api/v1/${path}?${new URLSearchParams(query).toString()}`,
      );
      const { status, data, error } = (await response.json()) as Record<string, unknown>;
      if (status !== 'success') throw new Error(`Prometheus refuses ${path}: ${String(error)}`);
      return data;
    },
    [Symbol.asyncDispose]: async () => {
      await server.stop();
      await dir.remove();
    },
  };
};
