import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawnService, type RunningProcess } from '@casvault/testkit';

export interface ProcessSpec {
  readonly name: string;
  /** Compiled entry, run by this Node. */
  readonly main: string;
  readonly env: Readonly<Record<string, string>>;
  readonly logFile: string;
  /** Where its health and metrics are: `http://127.0.0.1:<port>`. */
  readonly healthUrl: string;
}

/**
 * One service of the stack as a child process: started, watched, started again one second after it dies (as Kubernetes
 * would), killed and kept down when a test says so. Its output goes to a log file.
 */
export class ManagedProcess {
  private running: RunningProcess | null = null;
  private wanted = false;
  private restarts = 0;

  constructor(readonly spec: ProcessSpec) {}

  get name(): string {
    return this.spec.name;
  }

  get pid(): number | null {
    return this.running?.pid ?? null;
  }

  /** How often it died by itself and was started again. */
  get restartCount(): number {
    return this.restarts;
  }

  /** Starts it and waits until it is ready. Throws with the end of its log after `timeoutMs`. */
  async start(timeoutMs = 120_000): Promise<void> {
    this.wanted = true;
    if (this.running === null) this.spawn();
    const deadline = Date.now() + timeoutMs;
    while (!(await this.isReady().catch(() => false))) {
      if (Date.now() > deadline)
        throw new Error(`${this.name} is not ready after ${timeoutMs} ms:\n${await this.logTail()}`);
      await sleep(100);
    }
  }

  /** SIGTERM, and SIGKILL after `graceMs`. */
  async stop(graceMs = 15_000): Promise<void> {
    this.wanted = false;
    await this.running?.stop(graceMs);
  }

  /** SIGKILL; stays down until `start`. */
  async kill(): Promise<void> {
    this.wanted = false;
    await this.running?.kill9();
  }

  /** The last `lines` lines that it wrote. */
  async logTail(lines = 30): Promise<string> {
    const text = await readFile(this.spec.logFile, 'utf8').catch(() => '');
    return text.split('\n').slice(-lines).join('\n');
  }

  /** What it answers to a scrape of its metrics. */
  async scrape(): Promise<string> {
    const response = await fetch(`${this.spec.healthUrl}/metrics`, { signal: AbortSignal.timeout(60_000) });
    if (!response.ok) throw new Error(`${this.name} tells no metrics: ${response.status}`);
    return response.text();
  }

  private async isReady(): Promise<boolean> {
    const signal = AbortSignal.timeout(2_000);
    return (await fetch(`${this.spec.healthUrl}/health/ready`, { signal })).ok;
  }

  private spawn(): void {
    const running = spawnService(this.spec.main, { env: { ...this.spec.env }, logFile: this.spec.logFile });
    this.running = running;
    void running.exited.then(async () => {
      this.running = null;
      if (!this.wanted) return;
      this.restarts += 1;
      await sleep(1_000);
      if (this.wanted && this.running === null) this.spawn();
    });
  }
}
