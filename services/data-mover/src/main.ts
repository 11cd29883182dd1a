import { runService } from '@casvault/service-host';
import { controllerConfig } from './config.js';
import { controllerModule } from './controller/controller.module.js';
import { dataMoverDatabase } from './data-source.js';

await runService({
  name: 'data-mover',
  version: '0.1.0',
  config: controllerConfig,
  database: dataMoverDatabase,
  module: controllerModule,
});
