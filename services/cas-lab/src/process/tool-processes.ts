import { readdir, readFile } from 'node:fs/promises';
import { endProcess } from './process-identity.js';

interface ToolProcess {
  readonly pid: number;
  readonly words: readonly string[];
}

/** The processes of QEMU's tools (`qemu-nbd`, `qemu-storage-daemon`, `qemu-img`) over files below `root`. */
export async function toolProcesses(root: string): Promise<ToolProcess[]> {
  const found: ToolProcess[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)) {
    const words = await wordsOf(pid);
    if (isToolOver(root, words)) found.push({ pid, words });
  }
  return found;
}

/** Ends them: a host that is switched off has none. */
export async function endToolProcesses(root: string): Promise<void> {
  for (const { pid } of await toolProcesses(root))
    await endProcess(pid, async () => isToolOver(root, await wordsOf(pid)));
}

const wordsOf = async (pid: number): Promise<string[]> =>
  (await readFile(`/proc/${String(pid)}/cmdline`, 'utf8').catch(() => '')).split('\0');

const isToolOver = (root: string, words: readonly string[]): boolean =>
  /(^|\/)qemu-(nbd|storage-daemon|img)$/.test(words[0] ?? '') && words.some((word) => word.includes(root));
