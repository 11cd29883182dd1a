import { spawn, type ChildProcess } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ProcessSpec {
  readonly name: string;
  /** Compiled entry, run by this Node. */
  readonly main: string;
  readonly env: Readonly<Record<string, string>>;
  readonly logFile: string;
  /** Resolves true when the process serves. */
  readonly ready: () => Promise<boolean>;
}

/**
 * One service of the stack as a child process: started, watched, started again one second after it dies (as Kubernetes
 * would), killed and kept down when a test says so. Its output goes to a log file.
 */
export class ManagedProcess {
  private child: ChildProcess | null = null;
  private wanted = false;
  private restarts = 0;
  private readonly log: WriteStream;

  constructor(readonly spec: ProcessSpec) {
    this.log = createWriteStream(spec.logFile, { flags: 'a' });
  }

  get name(): string {
    return this.spec.name;
  }

  get pid(): number | null {
    return this.child?.pid ?? null;
  }

  get restartCount(): number {
    return this.restarts;
  }

  /** Starts it and waits until it is ready. Throws with the end of its log after `timeoutMs`. */
  async start(timeoutMs = 60_000): Promise<void> {
    this.wanted = true;
    if (this.child === null) this.spawn();
    const deadline = Date.now() + timeoutMs;
    while (!(await this.spec.ready().catch(() => false))) {
      if (Date.now() > deadline) throw new Error(`${this.name} is not ready after ${timeoutMs} ms:\n${await this.logTail()}`);
      await sleep(100);
    }
  }

  /** SIGTERM, and SIGKILL after `graceMs`. */
  async stop(graceMs = 15_000): Promise<void> {
    this.wanted = false;
    await this.end('SIGTERM', graceMs);
    this.log.end();
  }

  /** SIGKILL; stays down until `start`. */
  async kill(): Promise<void> {
    this.wanted = false;
    await this.end('SIGKILL', 5_000);
  }

  async logTail(lines = 30): Promise<string> {
    const text = await readFile(this.spec.logFile, 'utf8').catch(() => '');
    return text.split('\n').slice(-lines).join('\n');
  }

  private spawn(): void {
    const child = spawn(process.execPath, ['--no-warnings', '--enable-source-maps', this.spec.main], {
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], TZ: process.env['TZ'], ...this.spec.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.pipe(this.log, { end: false });
    child.stderr.pipe(this.log, { end: false });
    child.once('exit', () => {
      this.child = null;
      if (!this.wanted) return;
      this.restarts += 1;
      setTimeout(() => {
        if (this.wanted && this.child === null) this.spawn();
      }, 1_000).unref();
    });
    this.child = child;
  }

  private async end(signal: NodeJS.Signals, graceMs: number): Promise<void> {
    const child = this.child;
    if (child === null) return;
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
    await exited;
    clearTimeout(timer);
  }
}
