import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ManagedProcess } from '@casvault/stack';
import { until } from '@casvault/testkit';
import { type World } from '../world.js';
import { type DatabaseStep, type DatabaseTrap, type Schema } from './database-trap.js';
import { MessagesOfTheDead } from './messages-of-the-dead.js';
import { watchPool, watchRecords, type FolderWatch } from './steps-on-disk.js';

type Fate = 'rolled back' | 'committed';
/** Who is held waits: nothing is missed between two looks. */
const lookEveryMs = 100;

const serviceOf = (schema: Schema): string => schema.replace('_', '-');

/** Who is killed at a step that shows in a folder. */
type Victim = 'mover' | 'disk-service';
const poolVictims: readonly Victim[] = ['mover'];
/** A record is written by a disk service, at the mover's request. */
const recordVictims: readonly Victim[] = ['disk-service', 'mover'];

interface KillerParts {
  readonly world: World;
  readonly trap: DatabaseTrap;
  readonly poolPath: string;
  /** At how many sides of a commit, and of the control API of a disk service. */
  readonly sides: 1 | 2;
  /** Of the mover between two `begins`. */
  readonly moverKills: number;
}

/**
 * Kills with SIGKILL whoever comes to a durable step at which it was not yet killed, and lets it start again. Commits are
 * killed before, after, or both (`sides`); what shows in folders is killed as soon as it shows.
 */
export class Killer implements AsyncDisposable {
  readonly #world: World;
  readonly #trap: DatabaseTrap;
  readonly #messages: MessagesOfTheDead;
  readonly #sides: 1 | 2;
  readonly #moverKills: number;
  /** Fates by id of the commit. */
  readonly #commits = new Map<string, Set<Fate>>();
  readonly #seenOnDisk = new Set<string>();
  readonly #killedOnDisk = new Set<string>();
  readonly #watches: FolderWatch[] = [];
  readonly #busy = new Set<string>();
  readonly #restarts = new Set<Promise<void>>();
  readonly log: string[] = [];
  #moverKillsLeft: number;
  readonly #beganAt = performance.now();
  #armed = false;
  #next: Fate = 'committed';
  #failure: unknown = null;
  /** As performance.now() tells. */
  lastKillAt = 0;

  private constructor(parts: KillerParts, messages: MessagesOfTheDead) {
    const { world, trap, poolPath, sides, moverKills } = parts;
    this.#world = world;
    this.#trap = trap;
    this.#messages = messages;
    this.#sides = sides;
    this.#moverKills = moverKills;
    this.#moverKillsLeft = moverKills;
    this.#watches.push(watchPool(poolPath, (name) => this.#onDisk(name, null)));
    for (const { root } of world.trial.lab.hosts)
      this.#watches.push(watchRecords(join(root, 'disk-service'), (name) => this.#onDisk(name, root)));
  }

  static async begin(parts: KillerParts): Promise<Killer> {
    return new Killer(parts, await MessagesOfTheDead.connect(parts.world.stack.nats.url));
  }

  /** Kills while `action` runs; afterwards everybody is up again. */
  async during<T>(action: () => Promise<T>): Promise<T> {
    this.#armed = true;
    await this.#trap.arm(true);
    const stopped = new AbortController();
    const watching = this.#watchCommits(stopped.signal);
    try {
      return await action();
    } finally {
      this.#armed = false;
      stopped.abort();
      await watching;
      await this.#trap.arm(false);
      await this.#settled();
    }
  }

  /** Nobody is held and everybody is up. Throws when somebody did not come back. */
  async #settled(): Promise<void> {
    do {
      await Promise.all(this.#restarts);
      await this.#killHeld();
    } while (this.#restarts.size > 0);
    if (this.#failure !== null) throw this.#failure as Error;
  }

  /** Something new is asked for: the mover may be killed again. */
  begins(): void {
    this.#moverKillsLeft = this.#moverKills;
  }

  /** What was killed where, in order. */
  async kills(): Promise<string[]> {
    const names = new Map((await this.#trap.steps()).map(({ id, name }) => [id, name]));
    return this.log.map((line) => line.replaceAll(/[0-9a-f]{32}/g, (id) => names.get(id) ?? id));
  }

  /** Everything that was ever taken, by name. */
  async steps(): Promise<string[]> {
    return [...(await this.#trap.steps()).map(nameOf), ...this.#seenOnDisk].sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const watch of this.#watches) watch.close();
    await this.#messages[Symbol.asyncDispose]();
  }

  #isCovered(id: string): boolean {
    return (this.#commits.get(id)?.size ?? 0) >= this.#sides;
  }

  // ---- commits

  async #watchCommits(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#killHeld();
      await sleep(lookEveryMs);
    }
  }

  async #killHeld(): Promise<void> {
    const held = await this.#trap.held();
    for (const schema of new Set(held.map((one) => one.schema)))
      if (!this.#busy.has(serviceOf(schema))) await this.#killAt(schema);
  }

  async #killAt(schema: Schema): Promise<void> {
    const process = this.#world.stack.process(serviceOf(schema));
    await process.kill();
    const held = (await this.#trap.held()).filter((one) => one.schema === schema);
    const fate = this.#fateFor(held.map(({ id }) => id));
    for (const { id } of held) this.#commits.set(id, new Set([...(this.#commits.get(id) ?? []), fate]));
    await this.#trap.cover(held.map(({ id }) => id).filter((id) => this.#isCovered(id)));
    await this.#trap.end(schema, held, fate);
    this.#died(`${process.name} ${fate} ${held.map(({ id }) => id).join()}`);
    this.#restart(process.name, () => this.#back(process, process.name));
  }

  /** Its messages are free long before it has loaded its modules; were they not, it would get them twice, as it may at any time. */
  async #back(process: ManagedProcess, consumers: string): Promise<void> {
    await process.kill();
    await Promise.all([this.#messages.release(consumers), process.start()]);
  }

  #died(how: string): void {
    this.lastKillAt = performance.now();
    const seconds = (this.lastKillAt - this.#beganAt) / 1_000;
    this.log.push(`${seconds.toFixed(1).padStart(7)} s  ${how}`);
  }

  /** The side that is missing, otherwise in turn. */
  #fateFor(ids: readonly string[]): Fate {
    const known = this.#commits.get(ids[0] ?? '');
    this.#next = this.#next === 'committed' ? 'rolled back' : 'committed';
    if (known?.has(this.#next) === true) return this.#next === 'committed' ? 'rolled back' : 'committed';
    return this.#next;
  }

  // ---- folders

  #onDisk(name: string, hostRoot: string | null): void {
    const victims = hostRoot === null ? poolVictims : recordVictims.slice(0, this.#sides);
    for (const victim of victims) {
      const step = `${victim}: ${name}`;
      this.#seenOnDisk.add(step);
      const who = victim === 'mover' ? 'mover-1' : `disk-service ${hostRoot ?? ''}`;
      if (!this.#armed || this.#killedOnDisk.has(step) || this.#busy.has(who)) continue;
      if (!(victim === 'mover' ? this.#killMover(who) : this.#killDiskService(who, hostRoot ?? ''))) continue;
      this.#killedOnDisk.add(step);
      this.#died(step);
      return;
    }
  }

  #killMover(who: string): boolean {
    const mover = this.#world.stack.process(who);
    if (this.#moverKillsLeft === 0 || !kill(mover.pid)) return false;
    this.#moverKillsLeft -= 1;
    this.#restart(who, () => this.#back(mover, 'work'));
    return true;
  }

  #killDiskService(who: string, root: string): boolean {
    const pidFile = join(root, 'disk-service.pid');
    const pid = pidIn(pidFile);
    if (!kill(pid)) return false;
    this.#restart(who, async () => {
      await until(() => (pidIn(pidFile) ?? pid) !== pid);
    });
    return true;
  }

  #restart(who: string, back: () => Promise<void>): void {
    this.#busy.add(who);
    const done = back()
      .catch((error: unknown) => {
        this.#failure ??= error;
      })
      .finally(() => {
        this.#busy.delete(who);
        this.#restarts.delete(done);
      });
    this.#restarts.add(done);
  }
}

const nameOf = ({ service, name }: DatabaseStep): string => `${serviceOf(service)}: ${name}`;

const pidIn = (file: string): number | null => {
  try {
    return Number(readFileSync(file, 'utf8').split(' ')[0]);
  } catch {
    return null;
  }
};

const kill = (pid: number | null): boolean => {
  if (pid === null || !(pid > 1)) return false;
  try {
    return process.kill(pid, 'SIGKILL');
  } catch {
    return false;
  }
};
