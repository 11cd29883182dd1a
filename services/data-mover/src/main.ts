import { runService } from '@casvault/service-host';
import { controllerConfig, roleOf, workerConfig } from './config.js';
import { controllerModule } from './controller/controller.module.js';
import { dataMoverDatabase } from './data-source.js';
import { workerModule } from './worker/worker.module.js';

const version = '0.1.0';

if (roleOf() === 'worker') {
  await runService({ name: 'data-mover-worker', version, config: workerConfig, module: workerModule });
} else {
  await runService({
    name: 'data-mover',
    version,
    config: controllerConfig,
    database: dataMoverDatabase,
    module: controllerModule,
  });
}
