import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import { repositoryRoot } from './helm.js';
import { type ConfigAnswer, type StartOf } from './service-config.js';

type Reader = () => unknown;

/** The function of a service's config.js that its main.js calls. */
const readerOf = async ({ service, env }: StartOf): Promise<Reader> => {
  const file = join(repositoryRoot, 'services', service, 'dist/src/config.js');
  const module = (await import(pathToFileURL(file).href)) as Readonly<Record<string, Reader | undefined>>;
  const role = env['CASVAULT_DATA_MOVER_ROLE'];
  const camel = service.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
  const reader = module[service === 'data-mover' ? `${String(role)}Config` : `${camel}Config`];
  if (reader === undefined) throw new Error(`${service} has no reader of its configuration`);
  return reader;
};

/** Runs the reader over `env` as the whole environment of this process, and notes every name that it looks for. */
export const readConfigOf = async (start: StartOf): Promise<ConfigAnswer> => {
  const read = new Set<string>();
  const before = process.env;
  try {
    const reader = await readerOf(start);
    process.env = new Proxy(
      { ...start.env },
      {
        get: (env, name) => {
          read.add(String(name));
          return env[String(name)];
        },
      },
    );
    reader();
    return { read: [...read], problems: [] };
  } catch (error) {
    const { problems, message } = error as Error & { problems?: readonly string[] };
    return { read: [...read], problems: problems ?? [message] };
  } finally {
    process.env = before;
  }
};
