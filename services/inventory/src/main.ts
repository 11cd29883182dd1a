import { runService } from '@casvault/service-host';
import { inventoryModule } from './app.module.js';
import { inventoryConfig } from './config.js';
import { inventoryDatabase } from './data-source.js';

await runService({
  name: 'inventory',
  version: '0.1.0',
  config: inventoryConfig,
  database: inventoryDatabase,
  module: inventoryModule,
});
