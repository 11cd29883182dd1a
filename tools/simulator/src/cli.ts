import { simulate } from './simulate.js';

const from = Number(process.argv[2] ?? 1);
const count = Number(process.argv[3] ?? 1);
const traced = process.argv[4] === 'trace';
const t = performance.now();
let steps = 0,
  points = 0,
  restored = 0,
  failed = 0,
  deaths = 0,
  bad = 0;
for (let seed = from; seed < from + count; seed += 1) {
  const r = await simulate({ seed, isTraced: traced });
  steps += r.steps;
  points += r.points;
  restored += r.restored;
  failed += r.failed;
  deaths += r.deaths;
  if (traced) console.log(r.trace.join('\n'));
  if (r.violation) {
    bad += 1;
    console.log(seed, r.violation, r.kinds.join());
  }
}
const s = (performance.now() - t) / 1000;
console.log({ s, perSecond: count / s, steps, points, restored, failed, deaths, bad });
