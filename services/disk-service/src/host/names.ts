import { join } from 'node:path';
import { openingIdSchema, type OpeningId } from '@casvault/contracts';

/** Names of what an opening makes on the host: they prove whose it is, without asking the state. */
export interface HostFolders {
  readonly scratchDir: string;
  readonly stateDir: string;
}

export const scratchFile = (folders: HostFolders, id: OpeningId, target: string): string =>
  join(folders.scratchDir, `casvault-${id}-${target}.qcow2`);

/** The opening that a scratch file of ours belongs to; null: it is none of ours. */
export function openingOfScratch(folders: HostFolders, path: string): OpeningId | null {
  const name = path.startsWith(`${folders.scratchDir}/`) ? path.slice(folders.scratchDir.length + 1) : '';
  const id = openingIdSchema.safeParse(/^casvault-([0-9a-f-]{36})-[a-z0-9]+\.qcow2$/.exec(name)?.[1]);
  return id.success ? id.data : null;
}

export const runDir = (folders: HostFolders): string => join(folders.stateDir, 'run');

export const serverName = (id: OpeningId, target: string): string => `${id}-${target}`;

/** The pid file of an export's server; as `--pid-file=` on its command line it is the proof that the process is ours. */
export const pidFile = (folders: HostFolders, name: string): string => join(runDir(folders), `${name}.pid`);

export const logFile = (folders: HostFolders, name: string): string => join(runDir(folders), `${name}.log`);

/** Where XML documents for virsh are kept while it reads them. */
export const tempDir = (folders: HostFolders): string => join(folders.stateDir, 'tmp');
