import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Fault, type FaultCode } from '@casvault/contracts';
import { execa } from 'execa';

export interface VirshOptions {
  /** Connection URI: `qemu:///system`, or `qemu:///session?socket=/run/...` for a daemon of its own. */
  readonly uri: string;
  /** Added to the environment of this process for virsh; LC_ALL=C is set, so that its words are stable. */
  readonly env?: Readonly<Record<string, string>>;
  readonly virshPath?: string;
  /** Folder for the XML documents that virsh reads; default: the system's. They are removed after each call. */
  readonly tempDir?: string;
  /** Runs virsh as another user: a session daemon's socket belongs to its own. */
  readonly runAs?: { readonly uid: number; readonly gid: number };
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Default 60 s: libvirt itself waits up to 30 s for a domain that is busy with another job. */
  readonly timeoutMs?: number;
  readonly input?: string;
}

export const defaultTimeoutMs = 60_000;
export const maxOutputBytes = 16 * 1024 * 1024;

const faultWords: readonly [RegExp, FaultCode][] = [
  [
    /failed to connect to the hypervisor|Failed to connect socket|Cannot recv data|End of file while reading/i,
    'DEPENDENCY_UNAVAILABLE',
  ],
  [/client socket is closed|Disconnected from .* due to|Connection reset by peer/i, 'DEPENDENCY_UNAVAILABLE'],
  [/failed to get domain '|Domain not found/i, 'VM_NOT_FOUND'],
  [/Domain checkpoint not found|Domain snapshot not found|Domain backup job id not found/i, 'NOT_FOUND'],
];

/** virsh's words as a Fault: the code by what libvirt said, the message with its words. */
export function virshFault(command: string, words: string): Fault {
  const said = words
    .split('\n')
    .map((line) => line.replace(/^error:\s*/, '').trim())
    .filter((line) => line !== '')
    .join('; ');
  const code = faultWords.find(([pattern]) => pattern.test(words))?.[1] ?? 'LIBVIRT_FAILED';
  return new Fault(code, `virsh ${command}: ${said === '' ? 'failed without a word' : said}`, {
    details: { command },
  });
}

export const stoppedFault = (command: string): Fault =>
  new Fault('STOPPED', `virsh ${command} was stopped`, { details: { command } });

export const lateFault = (command: string, timeoutMs: number): Fault =>
  new Fault('DEADLINE_EXCEEDED', `virsh ${command} did not end in ${String(timeoutMs)} ms`, {
    details: { command },
  });

/** Runs virsh once. The command is the first of `args`; no shell is involved. */
export async function runVirsh(
  options: VirshOptions,
  args: readonly string[],
  call: CallOptions = {},
): Promise<string> {
  return (await execute(options, args[0] ?? '', args, call)).stdout;
}

/** A word for virsh's own parser. */
export const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

/**
 * Runs several commands in one virsh, in their order; what they print comes one after the other. A process for each would cost
 * more than what it is asked. Throws what the first that failed said, after all have run: for questions only.
 */
export async function runVirshTogether(
  options: VirshOptions,
  commands: readonly (readonly string[])[],
  call: CallOptions = {},
): Promise<string> {
  const line = commands.map((words) => words.map(quoted).join(' ')).join('; ');
  const name = commands.map(([command]) => command).join(', ');
  const { stdout, stderr } = await execute(options, name, [line], call);
  // The exit code is the last command's.
  if (/^error:/m.test(stderr)) throw virshFault(name, stderr);
  return stdout;
}

async function execute(
  options: VirshOptions,
  command: string,
  args: readonly string[],
  call: CallOptions,
): Promise<{ stdout: string; stderr: string }> {
  const timeoutMs = call.timeoutMs ?? defaultTimeoutMs;
  const result = await execa(options.virshPath ?? 'virsh', ['--quiet', '--connect', options.uri, ...args], {
    reject: false,
    env: { LC_ALL: 'C', ...options.env },
    ...(call.input === undefined ? { stdin: 'ignore' as const } : { input: call.input }),
    ...(call.signal ? { cancelSignal: call.signal } : {}),
    ...(options.runAs ?? {}),
    timeout: timeoutMs,
    maxBuffer: maxOutputBytes,
  });
  const { stdout, stderr } = result;
  if (result.exitCode === 0) return { stdout, stderr };
  if (result.isCanceled) throw stoppedFault(command);
  if (result.timedOut) throw lateFault(command, timeoutMs);
  if (result.exitCode === undefined) {
    throw new Fault('DEPENDENCY_UNAVAILABLE', `virsh can't be run: ${result.shortMessage}`, {
      details: { command },
    });
  }
  throw virshFault(command, stderr);
}

/**
 * Runs `use` with the documents in files that only virsh's user can read, and removes them after it. Files, not standard
 * input: Node's pipes are sockets, which virsh can't open as /dev/stdin.
 */
export async function withXmlFiles<T>(
  options: VirshOptions,
  documents: readonly string[],
  use: (paths: string[]) => Promise<T>,
): Promise<T> {
  const dir = await mkdtemp(join(options.tempDir ?? tmpdir(), 'casvault-virsh-'));
  try {
    if (options.runAs) await chown(dir, options.runAs.uid, options.runAs.gid);
    const paths: string[] = [];
    for (const [index, document] of documents.entries()) {
      const path = join(dir, `${String(index)}.xml`);
      await writeFile(path, document, { mode: 0o600 });
      if (options.runAs) await chown(path, options.runAs.uid, options.runAs.gid);
      paths.push(path);
    }
    return await use(paths);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
