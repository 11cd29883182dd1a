import { threadId } from 'node:worker_threads';
import { serveThread, type Session } from '../src/thread-calls.js';
import { type OddCalls } from './odd-calls.js';

const openOdd = (signal: AbortSignal): Session<OddCalls> => ({
  handlers: {
    double: (value) => Promise.resolve(value * 2),
    wait: () =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          reject(signal.reason as Error);
        });
      }),
    stuck: () => new Promise(() => undefined),
    die: () => process.exit(3),
    self: () => Promise.resolve(threadId),
  },
  close: () => Promise.resolve(),
});

serveThread({ odd: (_, signal) => openOdd(signal) });
