import { runService } from '@casvault/service-host';
import { schedulerModule } from './app.module.js';
import { schedulerConfig } from './config.js';
import { schedulerDatabase } from './data-source.js';

await runService({
  name: 'scheduler',
  version: '0.1.0',
  config: schedulerConfig,
  database: schedulerDatabase,
  module: schedulerModule,
});
