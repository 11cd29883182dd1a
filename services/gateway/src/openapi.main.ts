import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { routes } from './api/table.js';
import { openApiOf } from './openapi/openapi.js';
import { version } from './version.js';

/** `npm run openapi -w services/gateway`: writes the committed document anew. */
const [path] = process.argv.slice(2);
if (path === undefined) {
  process.stderr.write('usage: openapi.main.js <file>\n');
  process.exit(64);
}
mkdirSync(dirname(path), { recursive: true });
writeFileSync(path, `${JSON.stringify(openApiOf(routes, version))}\n`);
