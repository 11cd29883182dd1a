import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Logger, type OpeningId } from '@casvault/contracts';
import { writeDurably } from './durable-file.js';
import { openingRecordSchema, type OpeningRecord } from './record.js';

/**
 * One JSON file per opening, replaced atomically and flushed before `save` returns. All records are held in memory too:
 * at most `maxOpenings` live ones plus those that are kept for an hour after their end, 2 KiB each.
 */
export class RecordStore {
  readonly #dir: string;
  readonly #records = new Map<string, OpeningRecord>();

  constructor(stateDir: string) {
    this.#dir = join(stateDir, 'openings');
  }

  /** Reads what is there. A file that is no record is left alone and told of: it is not ours, or newer than we are. */
  async load(logger: Logger): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.#dir)) {
      const path = join(this.#dir, name);
      if (name.endsWith('.tmp')) {
        await rm(path, { force: true });
        continue;
      }
      if (!name.endsWith('.json')) continue;
      const record = parseRecord(await readFile(path, 'utf8'));
      if (record) this.#records.set(record.openingId, record);
      else logger.error({ path }, 'a file among the openings is no record of this version');
    }
  }

  get(id: OpeningId): OpeningRecord | undefined {
    return this.#records.get(id);
  }

  all(): OpeningRecord[] {
    return [...this.#records.values()];
  }

  async save(record: OpeningRecord): Promise<void> {
    const path = this.#path(record.openingId);
    await writeDurably(path, JSON.stringify(record, null, 2));
    this.#records.set(record.openingId, record);
  }

  async remove(id: OpeningId): Promise<void> {
    await rm(this.#path(id), { force: true });
    this.#records.delete(id);
  }

  #path(id: OpeningId): string {
    return join(this.#dir, `${id}.json`);
  }
}

function parseRecord(text: string): OpeningRecord | null {
  try {
    return openingRecordSchema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}
