import { previewRestore, restorePreviewBodySchema, restorePreviewSchema } from '@casvault/contracts';
import * as examples from './examples.js';
import { operating, route, type Route } from './route.js';

/** Every platform that the restore goes to is asked meanwhile. */
const previewDeadlineMs = 60_000;

export const restoreRoutes: readonly Route[] = [
  route({
    id: 'previewRestore',
    method: 'POST',
    path: '/restores/preview',
    tag: 'Restores',
    summary: 'What a restore would do, and the code to submit it with',
    description:
      'Takes a restore job as `POST /jobs` does, and makes nothing. For every VM: its settings with what `defaults` and the point say, what ' +
      'the platform would refuse now (all of it, by field), and what to know beforehand. Settings that nobody gives and that are required are ' +
      'proposed in `target` as the source VM has them. Only where nothing is refused `confirmation` holds the code without which no restore is ' +
      'submitted: good once, within ten minutes, for exactly this request of the same user (F6). Each VM is judged as if it were alone.',
    access: operating,
    body: restorePreviewBodySchema,
    status: 200,
    reply: restorePreviewSchema,
    deadlineMs: previewDeadlineMs,
    faults: ['PLATFORM_UNREACHABLE', 'PLATFORM_LOGIN_REFUSED'],
    example: { body: examples.restoreRequest, reply: examples.restorePreview },
    serve: ({ ask, body }) => ask(previewRestore, body),
  }),
];
