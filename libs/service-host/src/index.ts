export { systemClock } from './clock.js';
export {
  ConfigProblems,
  databaseShape,
  readConfig,
  serviceShape,
  type ServiceConfig,
} from './config-reader.js';
export { observeGauges } from './gauges.js';
export { type ReadyCheck } from './health-server.js';
export { createLogger } from './logger.js';
export { runService, type Host, type ServiceOptions } from './run-service.js';
export { createSealer, type Sealer } from './sealer.js';
export { startTelemetry, type Telemetry } from './telemetry.js';
