// Starts the service that the first argument names; the process is the service then, and gets its signals.
import { existsSync } from 'node:fs';
import { argv, exit, stderr } from 'node:process';
import { URL } from 'node:url';

const services = ['gateway', 'licensing-auth', 'inventory', 'scheduler', 'snapshot-engine', 'data-mover'];
const name = argv[2] ?? '';
const main = new URL(`./services/${name}/dist/src/main.js`, import.meta.url);

if (!services.includes(name) || !existsSync(main)) {
  stderr.write(`usage: <image> <service>, one of: ${services.join(', ')}\n`);
  // EX_USAGE of sysexits.
  exit(64);
}
await import(main.href);
