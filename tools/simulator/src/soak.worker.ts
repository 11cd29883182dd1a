import { parentPort } from 'node:worker_threads';
import { simulate } from './simulate.js';
import { type SoakRange, type Summary } from './soak.js';

/** Simulates the ranges that it is given. */
parentPort?.on('message', ({ first, seeds }: SoakRange) => {
  void (async () => {
    const results: Summary[] = [];
    for (let seed = first; seed < first + seeds; seed += 1) {
      const { trace: _trace, ...result } = await simulate({ seed });
      results.push(result);
    }
    parentPort?.postMessage(results);
  })();
});
