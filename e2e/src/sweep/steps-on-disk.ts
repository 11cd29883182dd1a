import { readdirSync, readFileSync, watch, type FSWatcher } from 'node:fs';
import { join } from 'node:path';

const uuid = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g;
/** inotify may miss what is made in a folder that is itself new. */
const lookEveryMs = 25;

export interface FolderWatch {
  close(): void;
}

/**
 * Every object that appears in or goes from a pool's folder, by the shape of its name (`manifest appears`); what is being written
 * as `@tmp/* appears`. Memory: the names of the pool.
 */
export const watchPool = (folder: string, onStep: (name: string) => void): FolderWatch => {
  let known = listing(folder);
  const look = (): void => {
    const now = listing(folder);
    const before = known;
    known = now;
    for (const path of now) if (!before.has(path)) onStep(`${shapeOf(path)} appears`);
    for (const path of before) if (!now.has(path)) onStep(`${shapeOf(path)} goes`);
  };
  const watcher = watch(folder, { recursive: true }, look);
  watcher.on('error', () => undefined);
  const timer = setInterval(look, lookEveryMs);
  return {
    close: () => {
      clearInterval(timer);
      watcher.close();
    },
  };
};

const shapeOf = (path: string): string => (path.startsWith('@tmp/') ? '@tmp/*' : path.replaceAll(uuid, '*'));

/** Files only; a folder that goes while it is read is read at the next event. */
const listing = (folder: string): Set<string> => {
  try {
    const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
    return new Set(
      entries
        .filter((entry) => entry.isFile())
        .map(({ parentPath, name }) => join(parentPath, name).slice(folder.length + 1)),
    );
  } catch {
    return new Set();
  }
};

interface OpeningRecord {
  readonly state: string;
  readonly method: string;
  readonly request: { readonly kind: string };
}

/** Every record that a disk service is about to write (`capture live open, next`) and has written (`capture live closing`). */
export const watchRecords = (stateFolder: string, onStep: (name: string) => void): FolderWatch => {
  const folder = join(stateFolder, 'openings');
  const states = new Map<string, string>();
  const watcher: FSWatcher = watch(folder, (_event, name) => {
    if (name === null) return;
    const id = name.slice(0, 36);
    if (name.endsWith('.tmp')) {
      onStep(`record ${states.get(id) ?? 'none'}, next`);
      return;
    }
    const state = stateOf(join(folder, name)) ?? `${states.get(id)?.replace(/ gone$/, '') ?? ''} gone`;
    if (state === states.get(id)) return;
    states.set(id, state);
    onStep(`record ${state}`);
  });
  return { close: () => watcher.close() };
};

const stateOf = (path: string): string | null => {
  try {
    const { request, method, state } = JSON.parse(readFileSync(path, 'utf8')) as OpeningRecord;
    return `${request.kind} ${method} ${state}`;
  } catch {
    return null;
  }
};
