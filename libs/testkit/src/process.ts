import { spawn, type ChildProcess } from 'node:child_process';
import { createWriteStream, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';

export interface SpawnOptions {
  /** The whole environment besides PATH and HOME: a test decides everything that its process sees. */
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  readonly uid?: number;
  readonly gid?: number;
  /** Standard output and error are also written here. */
  readonly logFile?: string;
}

/** Children still running when this process exits end with it. */
const children = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

/** A child process with its output, for tests. At most the last 2 MiB of output are kept. */
export class RunningProcess {
  readonly #child: ChildProcess;
  readonly #exited: Promise<number>;
  #output = '';

  constructor(command: string, args: readonly string[], options: SpawnOptions = {}) {
    const { env, cwd, uid, gid } = options;
    const base = { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '/' };
    this.#child = spawn(command, [...args], {
      env: { ...base, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(cwd === undefined ? {} : { cwd }),
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    });
    children.add(this.#child);
    if (options.logFile) mkdirSync(dirname(options.logFile), { recursive: true });
    const file = options.logFile ? createWriteStream(options.logFile, { flags: 'a' }) : null;
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.setEncoding('utf8').on('data', (chunk: string) => {
        this.#output = (this.#output + chunk).slice(-2 * 1024 * 1024);
        file?.write(chunk);
      });
    this.#exited = new Promise((resolve) => {
      this.#child.once('error', (error) => {
        this.#output += `\n${String(error)}`;
        resolve(-1);
      });
      this.#child.once('exit', (code, signal) => {
        file?.end();
        children.delete(this.#child);
        resolve(code ?? (signal ? 128 : -1));
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }
  /** Standard output and error, interleaved. */
  get output(): string {
    return this.#output;
  }
  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null && this.#child.pid !== undefined;
  }
  /** The exit code; 128 when a signal ended it, -1 when it never ran. */
  get exited(): Promise<number> {
    return this.#exited;
  }

  /** Waits until the output matches; throws with the output if the process ends or the time is over before. */
  async sees(pattern: RegExp, timeoutMs = 60_000): Promise<void> {
    const until = Date.now() + timeoutMs;
    while (!pattern.test(this.#output)) {
      if (!this.running) throw new Error(`ended before ${pattern}:\n${this.#output}`);
      if (Date.now() > until) throw new Error(`no ${pattern} within ${timeoutMs} ms:\n${this.#output}`);
      await sleep(20);
    }
  }

  /** SIGTERM; SIGKILL after `graceMs`. Returns the exit code. */
  async stop(graceMs = 20_000, signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    if (!this.running) return this.#exited;
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), graceMs);
    const code = await this.#exited;
    clearTimeout(timer);
    return code;
  }

  /** As a power cut: nothing is flushed, no handler runs. */
  async kill9(): Promise<void> {
    if (this.running) this.#child.kill('SIGKILL');
    await this.#exited;
  }
}

/** Where Node keeps what it has compiled: a service comes up with a third less work. */
const compileCache = fileURLToPath(new URL('../../../../.var/compile-cache', import.meta.url));

/** All that a service runs with besides; a worker's threads would spend a sixth more CPU in so small a young generation. */
const flagsOf = ({ env = {} }: SpawnOptions): string[] =>
  env['CASVAULT_DATA_MOVER_ROLE'] === 'worker' ? [] : ['--max-semi-space-size=4'];

/** Starts a service's compiled main file under the running Node, as it is deployed. */
export const spawnService = (main: string, options: SpawnOptions = {}): RunningProcess =>
  new RunningProcess(process.execPath, [...flagsOf(options), main], {
    ...options,
    env: { NODE_COMPILE_CACHE: compileCache, ...options.env },
  });
