import { backup, diskOf } from './engine.js';

// A process of its own, so that a test can kill it: arguments are the pool and the socket of the source.
const [pool, socket] = process.argv.slice(2);
await backup({ kind: 'fs', path: pool! }, [diskOf(0, { path: socket!, exportName: '' })], { writer: 1 });
