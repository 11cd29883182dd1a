import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Runs `work` with files of these texts, readable by this user alone, and removes them after. */
export async function withTempFiles<T>(
  texts: readonly string[],
  work: (paths: string[]) => Promise<T>,
): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), 'cas-lab-'));
  try {
    const paths = texts.map((_, index) => join(dir, String(index)));
    for (const [index, text] of texts.entries()) await writeFile(paths[index] ?? '', text, { mode: 0o600 });
    return await work(paths);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
