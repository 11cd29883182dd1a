import { runService } from '@casvault/service-host';
import { licensingAuthModule } from './app.module.js';
import { licensingAuthConfig } from './config.js';
import { licensingAuthDatabase } from './data-source.js';

await runService({
  name: 'licensing-auth',
  version: '0.1.0',
  config: licensingAuthConfig,
  database: licensingAuthDatabase,
  module: licensingAuthModule,
});
