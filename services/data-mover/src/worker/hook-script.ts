import { constants } from 'node:fs';
import { access, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { Fault } from '@casvault/contracts';

const refused = (script: string, why: string): Fault =>
  new Fault('HOOK_REFUSED', `script '${script}' is not run: ${why}`, { details: { script } });

/**
 * The one file that a script's name stands for: in the folder, also after symbolic links, regular, executable by us and written by nobody
 * but its owner and group. HOOK_REFUSED says which of these it is not.
 */
export const resolveScript = async (folder: string | null, script: string): Promise<string> => {
  if (folder === null) throw refused(script, 'this backup host has no folder of scripts');
  const home = await realpath(folder).catch(() => null);
  if (home === null) throw refused(script, 'the folder of scripts is not there');
  const path = await realpath(join(home, script)).catch(() => null);
  if (path === null) throw refused(script, 'it is not in the folder of scripts');
  if (!path.startsWith(home + sep)) throw refused(script, 'it is a link out of the folder of scripts');
  const { mode, isFile } = await describe(path, script);
  if (!isFile) throw refused(script, 'it is no regular file');
  if ((mode & constants.S_IWOTH) !== 0) throw refused(script, 'anybody may write to it');
  const isExecutable = await access(path, constants.X_OK).then(
    () => (mode & (constants.S_IXUSR | constants.S_IXGRP | constants.S_IXOTH)) !== 0,
    () => false,
  );
  if (!isExecutable) throw refused(script, 'it is not executable');
  return path;
};

const describe = async (path: string, script: string): Promise<{ mode: number; isFile: boolean }> => {
  try {
    const found = await stat(path);
    return { mode: found.mode, isFile: found.isFile() };
  } catch (error) {
    throw refused(script, `it cannot be looked at: ${(error as NodeJS.ErrnoException).code ?? 'unknown'}`);
  }
};
