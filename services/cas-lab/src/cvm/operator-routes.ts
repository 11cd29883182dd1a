import { releaseTraits } from '../platform/release.js';
import { done, get, one, type Route } from './route.js';

/** What is answered to every operator: the test of the connection, the version, the state of tasks. */
export const operatorRoutes: Route[] = [
  { ...get('/operator/test', () => done), open: true },
  {
    ...get('/version', ({ platform }) =>
      one('versionInfo', { casVersion: releaseTraits[platform.settings.release].casVersion }),
    ),
    open: true,
  },
  {
    ...get('/message/:id', ({ params, platform }) => {
      const found = platform.tasks.find(Number(params['id']));
      return found ? one('taskMsg', found) : { status: 404 };
    }),
    open: true,
  },
];
