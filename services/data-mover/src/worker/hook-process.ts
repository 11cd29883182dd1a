import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Fault, type Clock } from '@casvault/contracts';
import { HookOutput } from './hook-output.js';

/** Between SIGTERM and SIGKILL; a run that is being stopped waits for no longer than some seconds. */
const graceMs = { time: 5_000, abort: 2_000 } as const;
/** What is still in the pipes of a process that has ended is read for so long. */
const drainMs = 1_000;

export interface HookCommand {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly timeoutMs: number;
}

/** How a process has ended: by itself, for its time was up, or because the signal aborted. */
export interface HookExit {
  readonly by: 'itself' | 'time' | 'abort';
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly output: HookOutput;
}

const signalGroup = (pid: number | undefined, name: 'SIGTERM' | 'SIGKILL'): void => {
  if (pid === undefined) return;
  try {
    process.kill(-pid, name);
  } catch {
    // Nobody of the group is left.
  }
};

/**
 * Runs a file with arguments, without a shell, as the leader of a process group of its own, with this environment and nothing else. When the
 * time is up or the signal aborts the group is told to end, and killed when it does not; when the leader ends, whoever it left in its group
 * is killed. Memory: that of `HookOutput`.
 */
export const runCommand = async (
  { file, args, env, cwd, timeoutMs }: HookCommand,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<HookExit> => {
  const child = started({ file, args, env, cwd });
  const output = new HookOutput();
  for (const pipe of [child.stdout, child.stderr]) pipe.on('data', (chunk: Buffer) => output.add(chunk));
  const closed = once(child, 'close').catch(() => undefined);
  const exited = exitOf(child);
  const ended = new AbortController();
  const timeIsUp = clock.sleep(timeoutMs, AbortSignal.any([signal, ended.signal]));
  try {
    const by = await Promise.race([
      exited.then((): HookExit['by'] => 'itself'),
      timeIsUp.then((): HookExit['by'] => (signal.aborted ? 'abort' : 'time')),
    ]);
    if (by !== 'itself') await endGroup(child, exited, clock.sleep(graceMs[by], ended.signal));
    const exit = await exited;
    signalGroup(child.pid, 'SIGKILL');
    await Promise.race([closed, clock.sleep(drainMs, ended.signal)]);
    return { by, ...exit, output };
  } finally {
    ended.abort();
    child.stdout.destroy();
    child.stderr.destroy();
  }
};

const notStarted = (error: unknown): Fault => {
  const { code, message } = error as NodeJS.ErrnoException;
  return new Fault('HOOK_REFUSED', `the script cannot be started: ${code ?? message}`, { cause: error });
};

/** Some causes are thrown, others are events. */
const started = ({ file, args, env, cwd }: Omit<HookCommand, 'timeoutMs'>) => {
  const stdio: ['ignore', 'pipe', 'pipe'] = ['ignore', 'pipe', 'pipe'];
  try {
    return spawn(file, args, { cwd, env: { ...env }, shell: false, detached: true, stdio });
  } catch (error) {
    throw notStarted(error);
  }
};

type Exit = Pick<HookExit, 'exitCode' | 'signal'>;

/** Rejects with HOOK_REFUSED when the file cannot be started. */
const exitOf = (child: ChildProcess): Promise<Exit> =>
  new Promise((resolve, reject) => {
    child.once('exit', (exitCode, signal) => resolve({ exitCode, signal }));
    child.once('error', (error) => reject(notStarted(error)));
  });

const endGroup = async (
  { pid }: ChildProcess,
  exited: Promise<Exit>,
  patience: Promise<void>,
): Promise<void> => {
  signalGroup(pid, 'SIGTERM');
  await Promise.race([exited, patience]);
  signalGroup(pid, 'SIGKILL');
};
