import { runService } from '@casvault/service-host';
import { snapshotEngineModule } from './app.module.js';
import { snapshotEngineConfig } from './config.js';
import { snapshotEngineDatabase } from './data-source.js';

await runService({
  name: 'snapshot-engine',
  version: '0.1.0',
  config: snapshotEngineConfig,
  database: snapshotEngineDatabase,
  module: snapshotEngineModule,
});
