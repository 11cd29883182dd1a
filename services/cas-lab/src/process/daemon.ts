import { spawn, type ChildProcess } from 'node:child_process';
import { openSync, closeSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { endLeftover, writePidFile } from './process-identity.js';
import { type LabUser } from './run-command.js';

export interface DaemonSpec {
  readonly name: string;
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly user: LabUser | undefined;
  /** Output is appended here. */
  readonly logFile: string;
  /** Holds the process id while it runs, so that the next lab finds what a killed one left. */
  readonly pidFile: string;
  /** Started again this long after it dies unasked; absent: it stays dead. */
  readonly restartAfterMs?: number;
}

/** A long-lived child process of the lab. At most one process at a time; `stop` returns when it is gone. */
export class Daemon {
  readonly #spec: DaemonSpec;
  #child: ChildProcess | undefined;
  #wanted = false;
  #restarts = 0;

  constructor(spec: DaemonSpec) {
    this.#spec = spec;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  get restarts(): number {
    return this.#restarts;
  }

  /** Ends what an earlier lab left under this pid file, then starts. */
  async start(): Promise<void> {
    if (this.#child) return;
    await endLeftover(this.#spec.pidFile);
    this.#wanted = true;
    await this.#launch();
  }

  /** SIGTERM, then SIGKILL after `graceMs`. It stays down until `start`. */
  async stop(graceMs = 10_000): Promise<void> {
    await this.#end('SIGTERM', graceMs);
  }

  /** SIGKILL, as a crash would. It stays down until `start` unless `comeBack`. */
  async kill(comeBack = false): Promise<void> {
    if (comeBack) {
      this.#child?.kill('SIGKILL');
      return;
    }
    await this.#end('SIGKILL', 5_000);
  }

  async #launch(): Promise<void> {
    const log = openSync(this.#spec.logFile, 'a');
    const child = spawn(this.#spec.file, [...this.#spec.args], {
      env: { ...this.#spec.env },
      ...(this.#spec.user ?? {}),
      stdio: ['ignore', log, log],
      // A process group of its own: a Ctrl-C on the lab's terminal must not end libvirt before the machines.
      detached: true,
    });
    closeSync(log);
    this.#child = child;
    child.once('error', () => this.#gone(child));
    child.once('exit', () => this.#gone(child));
    if (child.pid !== undefined) await writePidFile(this.#spec.pidFile, child.pid);
  }

  #gone(child: ChildProcess): void {
    if (this.#child !== child) return;
    this.#child = undefined;
    const { restartAfterMs } = this.#spec;
    if (!this.#wanted || restartAfterMs === undefined) return;
    this.#restarts += 1;
    setTimeout(() => {
      if (this.#wanted && this.#child === undefined) void this.#launch();
    }, restartAfterMs).unref();
  }

  async #end(signal: NodeJS.Signals, graceMs: number): Promise<void> {
    this.#wanted = false;
    const child = this.#child;
    if (child) {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill(signal);
      const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
      await gone;
      clearTimeout(timer);
    }
    await rm(this.#spec.pidFile, { force: true });
  }
}
