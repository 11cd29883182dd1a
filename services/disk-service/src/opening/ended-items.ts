import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { runItemIdSchema, type EndedItem, type Logger, type RunItemId } from '@casvault/contracts';
import { z } from 'zod';
import { writeDurably } from './durable-file.js';

/** Longer than anybody keeps copies of the control plane's databases to set them back to. */
const keepMs = 400 * 86_400_000;

const instantSchema = z.iso.datetime();

/**
 * Run items that are over, as the control plane told: what they wrote on this host is somebody else's now, or gone. One file each, which
 * is flushed before `add` returns; those older than 400 days go when the service starts. All are held in memory too: some 200 bytes each.
 */
export class EndedItems {
  readonly #dir: string;
  readonly #ended = new Map<RunItemId, string>();

  constructor(stateDir: string) {
    this.#dir = join(stateDir, 'ended-items');
  }

  /** Reads what is there. A file that tells no instant still tells of an end: it counts from `now`. */
  async load(now: Date, logger: Logger): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    const oldest = new Date(now.getTime() - keepMs).toISOString();
    for (const name of await readdir(this.#dir)) {
      const itemId = runItemIdSchema.safeParse(name);
      const path = join(this.#dir, name);
      if (name.endsWith('.tmp')) await rm(path, { force: true });
      else if (!itemId.success) logger.error({ path }, 'a file among the ended items is named after none');
      else await this.#take(itemId.data, path, { now: now.toISOString(), oldest });
    }
  }

  get(itemId: RunItemId): EndedItem {
    return { itemId, endedAt: this.#ended.get(itemId) ?? null };
  }

  /** Told again: the first end counts. */
  async add(itemId: RunItemId, now: Date): Promise<EndedItem> {
    const known = this.get(itemId);
    if (known.endedAt !== null) return known;
    const endedAt = now.toISOString();
    await writeDurably(join(this.#dir, itemId), endedAt);
    this.#ended.set(itemId, endedAt);
    return { itemId, endedAt };
  }

  async #take(itemId: RunItemId, path: string, { now, oldest }: { now: string; oldest: string }) {
    const told = instantSchema.safeParse((await readFile(path, 'utf8')).trim());
    if (told.success && told.data < oldest) await rm(path, { force: true });
    else this.#ended.set(itemId, told.success ? told.data : now);
  }
}
