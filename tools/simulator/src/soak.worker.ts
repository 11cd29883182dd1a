import { parentPort } from 'node:worker_threads';
import { simulate } from './simulate.js';
import { type SoakRange, type Summary } from './soak.js';

/** Faults and aborts are ordinary here: what their stacks cost is a sixth of the time. A replay has them. */
Error.stackTraceLimit = 0;

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
