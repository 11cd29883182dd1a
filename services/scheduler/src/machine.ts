/** The door for simulators: the service's machines and handlers, without its database and its NATS. */
export { attemptOf, itemSteps, type RunState } from './run.js';
export { RunHandlers } from './run.handlers.js';
export { parallelOf } from './parallel.rules.js';
export { attemptIdOf, endOf } from './run-item.js';
export { knownOf, type AskedItem } from './run-item-store.js';
export { runMachine } from './run.machine.js';
export { Runs, type RunsOptions } from './runs.js';
