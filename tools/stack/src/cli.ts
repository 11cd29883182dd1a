import { spawn } from 'node:child_process';
import { existsSync, openSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { runDemo } from './demo.js';
import { Account } from './progress.js';
import { startStack, type Stack } from './stack.js';

const repositoryRoot = fileURLToPath(new URL('../../../../', import.meta.url));
const dir = process.env['CASVAULT_STACK_DIR'] ?? join(repositoryRoot, '.var/stack');
const pidFile = join(dir, 'stack.pid');
const gatewayPort = Number(process.env['CASVAULT_GATEWAY_PORT'] ?? 8088);

const start = (onStep: (what: string) => void): Promise<Stack> =>
  startStack({ dir, gatewayPort, movers: 1, lab: { hosts: 2, net: 0 }, onStep });

/** The process that keeps the stack up, if one lives. */
const keeper = async (): Promise<number | null> => {
  if (!existsSync(pidFile)) return null;
  const pid = Number(await readFile(pidFile, 'utf8'));
  try {
    process.kill(pid, 0);
    return pid;
  } catch {
    return null;
  }
};

const demo = async (): Promise<number> => {
  const account = new Account(process.stdout);
  account.line('Casvault: back up a running virtual machine, restore it, compare every byte.\n');
  if ((await keeper()) !== null) {
    account.line(
      `The stack of \`make up\` is running (${dir}). \`make down\` stops it; then \`make demo\` uses the same data.`,
    );
    return 1;
  }
  const begun = performance.now();
  const stack = await start((what) => account.line(`   starting ${what}`));
  try {
    return (await runDemo(stack, performance.now() - begun, account)) ? 0 : 1;
  } finally {
    await stack.stop();
  }
};

/** Stays in the foreground and keeps the stack up until SIGTERM; `up` runs it detached. */
const keep = async (): Promise<number> => {
  const stopping = new Promise<void>((resolve) => {
    process.once('SIGTERM', () => resolve());
    process.once('SIGINT', () => resolve());
  });
  const stack = await start((what) => console.log(`starting ${what}`));
  console.log(`ready ${stack.gatewayUrl}`);
  await writeFile(pidFile, String(process.pid));
  await stopping;
  await stack.stop();
  await rm(pidFile, { force: true });
  return 0;
};

const up = async (): Promise<number> => {
  if ((await keeper()) === null) {
    await mkdir(dir, { recursive: true });
    await rm(pidFile, { force: true });
    const log = openSync(join(dir, 'stack.log'), 'w');
    const child = spawn(process.execPath, ['--no-warnings', fileURLToPath(import.meta.url), 'keep'], {
      detached: true,
      stdio: ['ignore', log, log],
    });
    let ended = false;
    child.once('exit', () => (ended = true));
    child.unref();
    while (!existsSync(pidFile)) {
      if (ended) {
        console.error(`The stack did not start:\n${await readFile(join(dir, 'stack.log'), 'utf8')}`);
        return 1;
      }
      await sleep(200);
    }
  }
  return status();
};

const down = async (): Promise<number> => {
  const pid = await keeper();
  if (pid === null) {
    console.log('The stack is not running.');
    return 0;
  }
  process.kill(pid, 'SIGTERM');
  while ((await keeper()) !== null) await sleep(200);
  console.log(`Stopped; its data are kept in ${dir}.`);
  return 0;
};

const status = async (): Promise<number> => {
  if ((await keeper()) === null) {
    console.log('The stack is not running.');
    return 3;
  }
  console.log(`REST API      http://127.0.0.1:${gatewayPort}/api/v1  (OpenAPI at /api/v1/openapi.json)`);
  console.log(`sign in as    admin, password in ${join(dir, 'admin-password')}`);
  console.log(`emulated CAS  http://127.0.0.10:8080/cas/casrs  (see ${join(dir, 'lab')})`);
  console.log(`logs          ${join(dir, 'logs')}`);
  return 0;
};

const verbs: Record<string, () => Promise<number>> = { demo, up, keep, down, status };
const verb = verbs[process.argv[2] ?? ''];
if (verb === undefined) {
  console.error(`usage: cli.js ${Object.keys(verbs).join(' | ')}`);
  process.exitCode = 2;
} else {
  process.exitCode = await verb();
}
