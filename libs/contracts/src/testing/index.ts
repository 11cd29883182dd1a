export { contractsOf, readBaseline } from './baseline.js';
export { Samples } from './samples.js';
