import { readFileSync } from 'node:fs';
import { backup, diskOf, restore } from './engine.js';

// One backup or restore in a process of its own, which then prints its peak of resident memory in KiB.
const [what, pool, socket] = process.argv.slice(2);
const location = { kind: 'fs', path: pool! } as const;
const endpoint = { path: socket!, exportName: '' };
if (what === 'backup') await backup(location, [diskOf(0, endpoint)]);
else await restore(location, [endpoint]);
// Not `maxRSS`: that begins with what the process had that forked this one.
const [, peakKiB = ''] = /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
process.stdout.write(`peak ${peakKiB}\n`);
