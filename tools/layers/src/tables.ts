import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../../', import.meta.url));

/** A file of the repository. */
export const textOf = (path: string): Promise<string> => readFile(root + path, 'utf8');

/** Whether a spec has a test of that title. */
export const hasTest = async (file: string, title: string): Promise<boolean> => {
  const spec = await textOf(file);
  return [`'${title}'`, `"${title}"`, `\`${title}\``].some((quoted) => spec.includes(quoted));
};
