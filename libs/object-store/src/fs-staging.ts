import { readFile, readlink, readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from './fs-faults.js';

/** The folder of unfinished objects below the root: no key can name it. */
export const stagingFolder = '@tmp';

/** A second look at another machine's leftovers comes no sooner after the first one. */
const secondLookMs = 60 * 60 * 1000;
const maxSuspects = 10_000;

/** Identity of a running process, exact on one machine: `boot` changes with every start of the machine or pid namespace. */
export interface ProcessIdentity {
  readonly boot: string;
  readonly pid: number;
  /** Start of the process in the kernel's ticks: a pid may be used again, the pair may not. */
  readonly start: string;
}

/**
 * Names for unfinished objects, and the removal of those that a killed process left behind.
 *
 * No clock is compared, as clocks of several machines and of the file server differ. A name carries its writer's identity:
 * - writer on this machine: the kernel says whether it lives; what a dead one left is removed at the first look.
 * - writer elsewhere: removed when a second look, at least an hour later by this process's own monotonic clock, finds the
 *   very same file (size, modification time and inode as opaque values) as the first.
 * A mistake in the second case costs a live but stalled writer its file, not its data: its rename finds nothing, and it
 * writes the object again. So the rule needs to be right often, not always.
 *
 * Memory: one entry per foreign leftover, at most `maxSuspects`.
 */
export class FsStaging {
  readonly #path: string;
  readonly #nextId: () => string;
  readonly #monotonicMs: () => number;
  #identity: Promise<ProcessIdentity | null> | null = null;
  #suspects = new Map<string, string>();
  #lookedAt: number | null = null;

  constructor(root: string, options: { readonly nextId: () => string; readonly monotonicMs: () => number }) {
    this.#path = join(root, stagingFolder);
    this.#nextId = options.nextId;
    this.#monotonicMs = options.monotonicMs;
  }

  /** A path that nobody uses. */
  async newPath(): Promise<string> {
    const me = await this.#me();
    const owner = me === null ? 'unknown' : `${me.boot}.${me.pid}.${me.start}`;
    return join(this.#path, `${owner}.${this.#nextId()}`);
  }

  /** Removes what is proven to be left behind, if it is time to look. */
  async sweep(): Promise<void> {
    const now = this.#monotonicMs();
    if (this.#lookedAt !== null && now - this.#lookedAt < secondLookMs) return;
    this.#lookedAt = now;
    const me = await this.#me();
    const suspects = new Map<string, string>();
    for (const name of await readdir(this.#path)) {
      const verdict = await judge(name, me);
      if (verdict === 'alive') continue;
      const look = verdict === 'dead' ? '' : await this.#look(name);
      if (look === null) continue;
      if (verdict === 'dead' || this.#suspects.get(name) === look) await this.#remove(name);
      else if (suspects.size < maxSuspects) suspects.set(name, look);
    }
    this.#suspects = suspects;
  }

  #me(): Promise<ProcessIdentity | null> {
    this.#identity ??= identityOf(process.pid);
    return this.#identity;
  }

  async #look(name: string): Promise<string | null> {
    try {
      const found = await stat(join(this.#path, name), { bigint: true });
      return `${found.ino} ${found.size} ${found.mtimeNs}`;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return null;
      throw error;
    }
  }

  /** A leftover that can't be removed (another user's, say) costs room, and must not stop anybody's writing. */
  async #remove(name: string): Promise<void> {
    await unlink(join(this.#path, name)).catch((error: unknown) => {
      if (errnoOf(error) === null) throw error;
    });
  }
}

type Verdict = 'alive' | 'dead' | 'unknown';

const judge = async (name: string, me: ProcessIdentity | null): Promise<Verdict> => {
  const owner = parseOwner(name);
  if (owner === null || me === null || owner.boot !== me.boot) return 'unknown';
  const now = await identityOf(owner.pid);
  return now?.start === owner.start ? 'alive' : 'dead';
};

/** `boot.pid.start.id` */
const parseOwner = (name: string): ProcessIdentity | null => {
  const match = /^([0-9a-f-]+)\.([0-9]+)\.([0-9]+)\.[^.]+$/.exec(name);
  const [, boot, pid, start] = match ?? [];
  return boot === undefined || pid === undefined || start === undefined
    ? null
    : { boot, pid: Number(pid), start };
};

/** Null where there is no such process, or no /proc to ask. */
const identityOf = async (pid: number): Promise<ProcessIdentity | null> => {
  try {
    const bootId = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
    const namespace = await readlink('/proc/self/ns/pid');
    const status = await readFile(`/proc/${pid}/stat`, 'utf8');
    // Field 22; the second one is the command in parentheses and may hold anything.
    const start = status.slice(status.lastIndexOf(')') + 2).split(' ')[19];
    const boot = `${bootId.trim()}-${/[0-9]+/.exec(namespace)?.[0] ?? ''}`;
    return start === undefined ? null : { boot, pid, start };
  } catch (error) {
    if (errnoOf(error) !== null) return null;
    throw error;
  }
};
