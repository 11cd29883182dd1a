import Sequencer from '@jest/test-sequencer';

/**
 * Specs that take a minute and more. Begun last, one of them would keep one core busy while the other has nothing left; a fresh
 * clone has no timings of its own that would tell. The two longest keep the cores busy by themselves: what begins with them waits
 * more than it works.
 */
const slow = [
  'sweep.spec.js',
  'history.spec.js',
  'worker-crash.integration.spec.js',
  'messaging.integration.spec.js',
  'simulate.spec.js',
  'cuts.integration.spec.js',
  'movers.integration.spec.js',
  'killed.spec.js',
  'e2e/dist/src/incremental.spec.js',
  'lease.integration.spec.js',
  'vm-action.integration.spec.js',
  'refused.spec.js',
  'e2e/dist/src/cut.spec.js',
  'restore-jobs.spec.js',
  'restore-image.integration.spec.js',
  'restore-overwrite.integration.spec.js',
  'first-light.spec.js',
  'rollback.spec.js',
  'cas-lab/dist/test/lab.integration.spec.js',
  'disk-service/dist/test/tracker.integration.spec.js',
  'quiesce.integration.spec.js',
  'observed.spec.js',
  'creation.spec.js',
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
