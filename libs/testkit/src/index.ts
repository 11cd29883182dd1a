export { ManualClock, TestLogger, testClock } from './clock.js';
export { natsServerPath, startNats, type NatsServer } from './nats.js';
export { freePort, tempDir, type TempDir } from './place.js';
export { startPostgres, type PostgresServer } from './postgres.js';
export { RunningProcess, spawnService, type SpawnOptions } from './process.js';
export { until } from './wait.js';
