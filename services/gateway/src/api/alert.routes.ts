import {
  acknowledgeAlert,
  alertChannelBodySchema,
  alertChannelIdSchema,
  alertChannelSchema,
  alertIdSchema,
  alertTestSchema,
  alertViewSchema,
  createAlertChannel,
  deleteAlertChannel,
  getAlertChannel,
  listAlertChannels,
  listAlerts,
  newAlertChannelBodySchema,
  testAlertChannel,
  updateAlertChannel,
  type AlertChannelId,
} from '@casvault/contracts';
import { z } from 'zod';
import * as examples from './alert-examples.js';
import { page } from './examples.js';
import { administering, operating, reading, route, type Call, type Route } from './route.js';

const tag = 'Alerts';
const params = z.object({ channelId: alertChannelIdSchema });
/** One attempt takes 15 s at most. */
const testDeadlineMs = 30_000;

type Seal = Call['seal'];
type Change = z.output<typeof alertChannelBodySchema>['settings'];

/** What is absent stays absent. */
const sealed = <T extends string | null | undefined>(seal: Seal, secret: T) =>
  typeof secret === 'string' ? seal(secret) : (secret as Exclude<T, string>);

const sealedChange = (
  settings: Change,
  seal: Seal,
): z.input<typeof updateAlertChannel.request>['settings'] => {
  if (settings.type === 'smtp') return { ...settings, password: sealed(seal, settings.password) };
  const { url, hmacSecret, bearerToken } = settings;
  return {
    ...settings,
    origin: url === undefined ? undefined : new URL(url).origin,
    url: sealed(seal, url),
    hmacSecret: sealed(seal, hmacSecret),
    bearerToken: sealed(seal, bearerToken),
  };
};

const newSettings = (
  settings: z.output<typeof newAlertChannelBodySchema>['settings'],
  seal: Seal,
): z.input<typeof createAlertChannel.request>['settings'] => {
  if (settings.type === 'smtp') return { ...settings, password: sealed(seal, settings.password) };
  const { url, hmacSecret, bearerToken } = settings;
  return {
    ...settings,
    origin: new URL(url).origin,
    url: seal(url),
    hmacSecret: sealed(seal, hmacSecret),
    bearerToken: sealed(seal, bearerToken),
  };
};

export const alertRoutes: readonly Route[] = [
  route({
    id: 'listAlerts',
    method: 'GET',
    path: '/alerts',
    tag,
    summary: 'Alerts, newest first',
    description:
      'Raised once for each run that failed, failed in part, was skipped or missed, and once for the VMs of a run that were ' +
      'skipped with an alert (`cbt.fallback`). `deliveries` tell for each channel whether it was told. An alert goes with its run.',
    access: reading,
    query: listAlerts.request,
    status: 200,
    reply: listAlerts.reply,
    faults: [],
    example: { reply: page(examples.alert) },
    serve: ({ ask, query }) => ask(listAlerts, query),
  }),
  route({
    id: 'acknowledgeAlert',
    method: 'PUT',
    path: '/alerts/{alertId}/acknowledgement',
    tag,
    summary: 'Acknowledge an alert',
    description: 'Whoever was first stays. Deliveries that wait are still tried.',
    access: operating,
    params: z.object({ alertId: alertIdSchema }),
    status: 200,
    reply: alertViewSchema,
    faults: ['NOT_FOUND'],
    example: {
      reply: { ...examples.alert, acknowledgedAt: '2026-03-02T21:10:00Z', acknowledgedBy: 'admin' },
    },
    serve: ({ ask, params: { alertId } }) => ask(acknowledgeAlert, { alertId }),
  }),
  route({
    id: 'createAlertChannel',
    method: 'POST',
    path: '/alert-channels',
    tag,
    summary: 'Send alerts to a webhook or by e-mail',
    description:
      '`webhook`: each alert is POSTed as JSON to an http or https URL, with `Idempotency-Key`, and with a signature and a bearer ' +
      'token if they are given; redirections are not followed. `smtp`: an e-mail in both languages; a user needs `starttls` or `tls`. ' +
      '`filter` says which alerts the channel takes. Secrets, and the URL with them, are sealed on arrival and never shown again.',
    access: administering,
    body: newAlertChannelBodySchema,
    status: 201,
    reply: alertChannelSchema,
    idempotent: true,
    location: '/alert-channels/{id}',
    faults: ['ALREADY_EXISTS', 'CONFLICT', 'IDEMPOTENCY_KEY_REUSED'],
    example: {
      body: {
        name: examples.channel.name,
        filter: { kinds: examples.channel.filter.kinds },
        settings: {
          type: 'webhook',
          url: 'https://alerts.example.org/hooks/3fd2',
          hmacSecret: 'a secret of both sides',
        },
      },
      reply: examples.channel,
    },
    serve: ({ ask, body, seal, resourceId }) =>
      ask(createAlertChannel, {
        ...body,
        id: resourceId<AlertChannelId>(),
        settings: newSettings(body.settings, seal),
      }),
  }),
  route({
    id: 'listAlertChannels',
    method: 'GET',
    path: '/alert-channels',
    tag,
    summary: 'Alert channels, by name',
    access: administering,
    query: listAlertChannels.request,
    status: 200,
    reply: listAlertChannels.reply,
    faults: [],
    example: { reply: page(examples.channel) },
    serve: ({ ask, query }) => ask(listAlertChannels, query),
  }),
  route({
    id: 'getAlertChannel',
    method: 'GET',
    path: '/alert-channels/{channelId}',
    tag,
    summary: 'One alert channel',
    access: administering,
    params,
    status: 200,
    reply: alertChannelSchema,
    faults: ['NOT_FOUND'],
    example: { reply: examples.channel },
    serve: ({ ask, params: { channelId } }) => ask(getAlertChannel, { channelId }),
  }),
  route({
    id: 'updateAlertChannel',
    method: 'PUT',
    path: '/alert-channels/{channelId}',
    tag,
    summary: 'Change an alert channel',
    description:
      'Replaces all but secrets (and the URL) that are absent; null takes one away. When the server is another, its secrets must be ' +
      'given anew. What waits to be sent goes by the new settings; a disabled channel is sent nothing new.',
    access: administering,
    params,
    body: alertChannelBodySchema,
    status: 200,
    reply: alertChannelSchema,
    faults: ['NOT_FOUND', 'ALREADY_EXISTS'],
    example: {
      body: { name: examples.channel.name, enabled: false, settings: { type: 'webhook' } },
      reply: { ...examples.channel, enabled: false, filter: { kinds: null, severities: null } },
    },
    serve: ({ ask, body, seal, params: { channelId } }) =>
      ask(updateAlertChannel, { ...body, channelId, settings: sealedChange(body.settings, seal) }),
  }),
  route({
    id: 'deleteAlertChannel',
    method: 'DELETE',
    path: '/alert-channels/{channelId}',
    tag,
    summary: 'Delete an alert channel',
    description: 'What waits to be sent by it is dropped.',
    access: administering,
    params,
    status: 204,
    faults: ['NOT_FOUND'],
    example: {},
    serve: async ({ ask, params: { channelId } }) => void (await ask(deleteAlertChannel, { channelId })),
  }),
  route({
    id: 'testAlertChannel',
    method: 'POST',
    path: '/alert-channels/{channelId}/test',
    tag,
    summary: 'Send a test by a channel now',
    description:
      'Once, whether or not the channel is enabled, and answers with what came of it: `error` is what the server or the network said.',
    access: administering,
    params,
    status: 200,
    reply: alertTestSchema,
    deadlineMs: testDeadlineMs,
    faults: ['NOT_FOUND'],
    example: { reply: { delivered: false, error: 'connect ECONNREFUSED 192.0.2.30:443' } },
    serve: ({ ask, params: { channelId } }) => ask(testAlertChannel, { channelId }),
  }),
];
