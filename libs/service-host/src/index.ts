export { systemClock } from './clock.js';
export {
  ConfigProblems,
  configExitCode,
  databaseShape,
  readConfig,
  serviceShape,
  type ServiceConfig,
} from './config-reader.js';
export { HealthServer, type ReadyCheck } from './health-server.js';
export { createLogger } from './logger.js';
export { runService, type Host, type ServiceOptions } from './run-service.js';
export { createSealer, type Sealer } from './sealer.js';
export { Shutdown } from './shutdown.js';
export { startTelemetry, type Telemetry } from './telemetry.js';
