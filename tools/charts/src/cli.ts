import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stdin } from 'node:process';
import { demo } from './demo.js';
import { chart } from './helm.js';
import { readConfigOf } from './read-config.js';
import { type ConfigAnswer, type StartOf } from './service-config.js';
import { readmeWithValues } from './values-readme.js';

const readme = async (): Promise<void> => {
  const file = join(chart, 'README.md');
  const values = await readFile(join(chart, 'values.yaml'), 'utf8');
  await writeFile(file, readmeWithValues(await readFile(file, 'utf8'), values));
};

const readConfig = async (): Promise<void> => {
  const chunks: Buffer[] = [];
  for await (const chunk of stdin) chunks.push(chunk as Buffer);
  const starts = JSON.parse(Buffer.concat(chunks).toString()) as StartOf[];
  const answers: ConfigAnswer[] = [];
  for (const start of starts) answers.push(await readConfigOf(start));
  console.log(JSON.stringify(answers));
};

const commands: Readonly<Record<string, () => Promise<void>>> = {
  readme,
  'read-config': readConfig,
  demo: () => demo((process.env['DRY_RUN'] ?? '') !== ''),
};
const command = commands[process.argv[2] ?? ''];
if (command === undefined) {
  console.error(
    'usage: cli.js readme   writes the table of values into the README of the chart\n       cli.js demo     make demo-k8s',
  );
  process.exitCode = 2;
} else await command();
