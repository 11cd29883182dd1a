import { execFile } from 'node:child_process';
import { Fault } from '@casvault/contracts';

/** The user that a host's daemons and machines run as; undefined: the user of this process. */
export interface LabUser {
  readonly uid: number;
  readonly gid: number;
}

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly user?: LabUser | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
}

const maxOutputBytes = 64 * 1024 * 1024;

/**
 * Runs a program to its end without a shell; its standard output. Throws DEPENDENCY_UNAVAILABLE when it can't be run,
 * STOPPED when aborted, CONFLICT with its last words when it fails. `env` is added to PATH and LC_ALL=C alone.
 */
export function runCommand(
  file: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(
      file,
      [...args],
      {
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
        ...(options.user ?? {}),
        ...(options.signal ? { signal: options.signal } : {}),
        env: { PATH: systemPath, LC_ALL: 'C', ...options.env },
        timeout: options.timeoutMs ?? 120_000,
        maxBuffer: maxOutputBytes,
      },
      (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else reject(commandFault(file, error, stderr));
      },
    );
  });
}

/** Where the system keeps the programs that the lab runs; daemons are in the sbin folders. */
export const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

function commandFault(file: string, error: Error & { code?: unknown }, stderr: string): Fault {
  if (error.name === 'AbortError') return new Fault('STOPPED', `${file} was stopped`, { cause: error });
  if (error.code === 'ENOENT' || error.code === 'EACCES') {
    return new Fault('DEPENDENCY_UNAVAILABLE', `${file} can't be run: ${String(error.code)}`, {
      cause: error,
    });
  }
  const words = stderr.trim().split('\n').slice(-5).join('; ');
  return new Fault('CONFLICT', `${file} failed: ${words === '' ? error.message : words}`, { cause: error });
}
