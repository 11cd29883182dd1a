import { serveThread } from '../src/thread-calls.js';
import { type OddCalls } from './odd-calls.js';

serveThread<OddCalls>((signal) => ({
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
  },
  close: () => Promise.resolve(),
}));
