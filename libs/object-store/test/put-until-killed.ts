import { openObjectStore } from '../src/index.js';

/** Run as `node put-until-killed.js ROOT RUN`: writes objects of one repeated byte, for ever, four at a time. */
const [, , path = '', run = ''] = process.argv;
const store = openObjectStore({ kind: 'fs', path });

const writer = async (name: number): Promise<never> => {
  for (let i = 0; ; i += 1) {
    const body = Buffer.alloc(2 * 1024 * 1024, (i % 250) + 1);
    await store.put(`w${name}/${i % 7}`, body);
    await store.put(`claims/${run}-${name}-${i}`, body.subarray(0, 100_000), { ifAbsent: true });
    if (i === 0) process.stdout.write(`writing ${name}\n`);
  }
};
await Promise.all([writer(0), writer(1), writer(2), writer(3)]);
