import Sequencer from '@jest/test-sequencer';

/**
 * Specs that take a minute and more. Begun last, one of them would keep one core busy while the other has nothing left; a fresh
 * clone has no timings of its own that would tell.
 */
const slow = [
  'killed.spec.js',
  'sweep.spec.js',
  'lease.integration.spec.js',
  'worker-crash.integration.spec.js',
  'vm-action.integration.spec.js',
  'simulate.spec.js',
  'e2e/dist/src/incremental.spec.js',
  'restore-jobs.spec.js',
  'refused.spec.js',
  'cuts.integration.spec.js',
  'lab.integration.spec.js',
  'rollback.spec.js',
  'movers.integration.spec.js',
  'messaging.integration.spec.js',
  'disk-service/dist/test/tracker.integration.spec.js',
];
const placeOf = ({ path }) => {
  const place = slow.findIndex((name) => path.endsWith(name));
  return place < 0 ? slow.length : place;
};

export default class SlowestFirst extends Sequencer {
  sort(tests) {
    return [...super.sort(tests)].sort((a, b) => placeOf(a) - placeOf(b));
  }
}
