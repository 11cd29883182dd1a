import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type World } from './world.js';

/** Name of a secret, and the secret. */
export type Secrets = Readonly<Record<string, string>>;

/** What a stack was given or made up to be kept to itself. */
export const secretsOf = async (world: World): Promise<Secrets> => {
  const { stack, trial } = world;
  const key = (await readFile(join(stack.dir, 'sealing-key'), 'utf8')).trim();
  const databases = ['licensing-auth', 'inventory', 'scheduler', 'snapshot-engine', 'data-mover'];
  return {
    'CVM password': trial.lab.cvm.password,
    'disk-service token': trial.lab.diskService?.token ?? '',
    'sealing key': key,
    'administrator password': stack.adminPassword,
    ...Object.fromEntries(databases.map((name) => [`database password of ${name}`, passwordOf(world, name)])),
  };
};

const passwordOf = ({ stack }: World, service: string): string =>
  new URL(stack.process(service).spec.env['CASVAULT_DATABASE_URL'] ?? '').password;

/** As it may have been written down: plain, in a URL, in base64, in hexadecimal, or as the bytes that its base64 stands for. */
const formsOf = (secret: string): Buffer[] => {
  const plain = Buffer.from(secret);
  const texts = [encodeURIComponent(secret), plain.toString('base64'), plain.toString('base64url')];
  const decoded = Buffer.from(secret, 'base64');
  return [
    plain,
    ...[...texts, plain.toString('hex')].map((text) => Buffer.from(text.replace(/=+$/, ''))),
    ...(decoded.length >= 16 ? [decoded] : []),
  ];
};

/** Which secrets are found where; never the secret itself. Throws for a secret too short to be searched for. */
export const findSecrets = (secrets: Secrets, places: Readonly<Record<string, Buffer>>): string[] =>
  Object.entries(secrets).flatMap(([name, secret]) => {
    if (secret.length < 8) throw new Error(`${name} is no secret: ${secret.length} characters`);
    const forms = formsOf(secret);
    return Object.entries(places)
      .filter(([, bytes]) => forms.some((form) => bytes.includes(form)))
      .map(([place]) => `${name} in ${place}`);
  });

/** Every file below a folder, by its path; all in memory: for a test's own few megabytes. */
export const filesBelow = async (folder: string): Promise<Record<string, Buffer>> => {
  const files: Record<string, Buffer> = {};
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) {
      const path = join(entry.parentPath, entry.name);
      files[path] = await readFile(path);
    }
  return files;
};
