import { Fault } from '@casvault/contracts';
import { openObjectStore } from '../src/index.js';

/** Run as `node claim-all.js ROOT NAME COUNT`: tries to be the first to write each of the claims, prints those won. */
const [, , path = '', name = '', count = '0'] = process.argv;
const store = openObjectStore({ kind: 'fs', path });
for (let i = 0; i < Number(count); i += 1) {
  try {
    await store.put(`claims/${i}`, Buffer.from(name), { ifAbsent: true });
    process.stdout.write(`won ${i}\n`);
  } catch (error) {
    if (Fault.from(error).code !== 'POOL_OBJECT_EXISTS') throw error;
  }
}
