import { alertRoutes } from './alert.routes.js';
import { apiTokenRoutes } from './api-token.routes.js';
import { deletionRoutes } from './deletion.routes.js';
import { holdRoutes } from './hold.routes.js';
import { jobRoutes } from './job.routes.js';
import { licenceRoutes } from './licence.routes.js';
import { platformRoutes } from './platform.routes.js';
import { pointRoutes } from './point.routes.js';
import { poolRoutes } from './pool.routes.js';
import { restoreRoutes } from './restore.routes.js';
import type { Route } from './route.js';
import { runRoutes } from './run.routes.js';
import { serviceRoutes } from './service.routes.js';
import { sessionRoutes } from './session.routes.js';
import { verificationRoutes } from './verification.routes.js';
import { vmRoutes } from './vm.routes.js';

/** The whole API. What is not here is not served, not documented and not tested. */
export const routes: readonly Route[] = [
  ...sessionRoutes,
  ...apiTokenRoutes,
  ...licenceRoutes,
  ...platformRoutes,
  ...vmRoutes,
  ...poolRoutes,
  ...jobRoutes,
  ...restoreRoutes,
  ...runRoutes,
  ...pointRoutes,
  ...holdRoutes,
  ...verificationRoutes,
  ...deletionRoutes,
  ...alertRoutes,
  ...serviceRoutes,
];
