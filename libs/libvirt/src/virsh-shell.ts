import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { Socket } from 'node:net';
import {
  defaultTimeoutMs,
  lateFault,
  maxOutputBytes,
  quoted,
  runVirsh,
  runVirshTogether,
  stoppedFault,
  virshFault,
  type CallOptions,
  type VirshOptions,
} from './virsh.js';

/** What was printed between the marks of one line. */
interface Answer {
  readonly stdout: string;
  readonly stderr: string;
}
type Commands = readonly (readonly string[])[];

/**
 * No history is read or written, no settings of a user's line editor count. `/dev/null` stands where a folder would be made.
 */
const shellEnv = { LC_ALL: 'C', TERM: 'dumb', XDG_CACHE_HOME: '/dev/null', INPUTRC: '/dev/null' };

/** It ends with its standard input, so with this process too. */
function launch({ uri, virshPath = 'virsh', env, runAs }: VirshOptions): ChildProcessWithoutNullStreams {
  const settings = Object.entries({ ...env, ...shellEnv }).map(([name, value]) => `${name}=${value}`);
  return spawn('env', [...settings, virshPath, '--quiet', '--connect', uri], { ...runAs });
}

/** A line editor reads the line: it takes tabs and bytes beyond ASCII for keys. */
const fitsLine = (word: string): boolean => /^[ -~]*$/.test(word);

/** Typed in two pieces, so that the echo of the line never looks like what the line prints. */
const typed = (mark: string): string => `'${mark.slice(0, 4)}''${mark.slice(4)}'`;

/** One interactive virsh, asked one line at a time. `isOver`: it ended, or said something unasked, and is of no use any more. */
class ShellProcess {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #sockets: readonly Socket[];
  #lines = 0;
  #out = '';
  #err = '';
  #isOver = false;
  /** Null: nobody waits for an answer. */
  #heard: (() => void) | null = null;

  constructor(options: VirshOptions) {
    this.#child = launch(options);
    const { stdin, stdout, stderr } = this.#child;
    this.#sockets = [stdin, stdout, stderr].filter((stream) => stream instanceof Socket);
    stdout.setEncoding('utf8').on('data', (text: string) => this.#hear(text, ''));
    stderr.setEncoding('utf8').on('data', (text: string) => this.#hear('', text));
    for (const part of [this.#child, stdin, stdout, stderr]) part.on('error', () => this.end());
    this.#child.on('exit', () => this.end());
    this.#hold(false);
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Null: it gave no whole answer, or `stop` aborted; it is ended then. */
  async ask(commands: Commands, stop: AbortSignal): Promise<Answer | null> {
    this.#lines += 1;
    const begin = `casvault-${String(this.#lines)}-begin`;
    const end = `casvault-${String(this.#lines)}-end`;
    this.#out = '';
    this.#err = '';
    this.#hold(true);
    const abort = (): void => this.end();
    stop.addEventListener('abort', abort, { once: true });
    if (stop.aborted) this.end();
    try {
      this.#write(commands, begin, end);
      return await this.#answer(begin, end);
    } finally {
      stop.removeEventListener('abort', abort);
      this.#heard = null;
      this.#hold(false);
    }
  }

  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#child.kill('SIGKILL');
    this.#heard?.();
  }

  #write(commands: Commands, begin: string, end: string): void {
    if (this.#isOver) return;
    const asked = commands.map((words) => words.map(quoted).join(' '));
    const line = [`echo ${typed(begin)}`, ...asked, `echo ${typed(end)}`, `echo --err ${typed(end)}`];
    this.#child.stdin.write(`${line.join('; ')}\n`);
  }

  async #answer(begin: string, end: string): Promise<Answer | null> {
    // With --quiet `echo` ends no line. The prompt follows on standard output; on standard error the mark is the last.
    while (!this.#err.endsWith(`${end}\n`) || !this.#out.includes(end)) {
      if (this.#isOver) return null;
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    }
    const from = this.#out.indexOf(begin);
    if (from < 0) return null;
    const printed = this.#out.slice(from + begin.length, this.#out.indexOf(end));
    const said = this.#err.slice(0, this.#err.lastIndexOf(end));
    return { stdout: printed.replace(/^\n|\n$/g, ''), stderr: said.replace(/(^|\n)error: $/, '$1') };
  }

  #hear(out: string, err: string): void {
    if (this.#heard === null && err !== '') return this.end();
    this.#out += out;
    this.#err += err;
    if (this.#out.length + this.#err.length > maxOutputBytes) this.end();
    this.#heard?.();
  }

  /** An idle shell keeps no process alive. */
  #hold(isAsked: boolean): void {
    const parts = [this.#child, ...this.#sockets];
    for (const part of parts)
      if (isAsked) part.ref();
      else part.unref();
  }
}

/**
 * Answers questions through one virsh that stays connected: a process for each costs ten times what it is asked. Nothing
 * depends on it: while it is busy, and whenever it does not answer as expected, a process of its own is asked, so only
 * questions may go this way, never a command that changes anything. Memory: one answer of at most 16 MiB.
 */
export class VirshShell {
  readonly #options: VirshOptions;
  #process: ShellProcess | null = null;
  #isBusy = false;

  constructor(options: VirshOptions) {
    this.#options = options;
  }

  /** What the commands print, one after the other. Throws as `runVirsh` does. */
  async ask(commands: Commands, call: CallOptions = {}): Promise<string> {
    const name = commands.map(([command]) => command).join(', ');
    const answer = await this.#askShell(name, commands, call);
    if (answer?.stderr === '') return answer.stdout;
    if (answer !== null) {
      // Only what is surely the answer: all else may be of the shell itself.
      const fault = virshFault(name, answer.stderr);
      if (fault.code === 'VM_NOT_FOUND' || fault.code === 'NOT_FOUND') throw fault;
      if (!this.#isBusy) this.#process?.end();
    }
    const [first] = commands;
    return commands.length === 1 && first !== undefined
      ? await runVirsh(this.#options, first, call)
      : await runVirshTogether(this.#options, commands, call);
  }

  async #askShell(name: string, commands: Commands, call: CallOptions): Promise<Answer | null> {
    if (this.#isBusy || !commands.flat().every(fitsLine)) return null;
    const timeoutMs = call.timeoutMs ?? defaultTimeoutMs;
    const tooLate = AbortSignal.timeout(timeoutMs);
    this.#isBusy = true;
    try {
      if (this.#process?.isOver !== false) this.#process = new ShellProcess(this.#options);
      const stop = AbortSignal.any([tooLate, ...(call.signal ? [call.signal] : [])]);
      const answer = await this.#process.ask(commands, stop);
      if (answer !== null) return answer;
      if (call.signal?.aborted === true) throw stoppedFault(name);
      if (tooLate.aborted) throw lateFault(name, timeoutMs);
      return null;
    } finally {
      this.#isBusy = false;
    }
  }
}
