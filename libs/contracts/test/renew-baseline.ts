import { renewBaseline } from '../src/testing/baseline.js';

const [release] = process.argv.slice(2);
if (release === undefined || release === '') throw new Error('usage: renew-baseline <release>');
await renewBaseline(release);
