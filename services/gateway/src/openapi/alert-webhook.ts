import { alertNoticeSchema } from '@casvault/contracts';
import { alert } from '../api/alert-examples.js';
import { type JsonSchema, type JsonSchemas } from './json-schemas.js';

const header = (name: string, description: string, required = true): JsonSchema => ({
  name,
  in: 'header',
  required,
  description,
  schema: { type: 'string' },
});

const example = (): unknown => {
  const { acknowledgedAt: _at, acknowledgedBy: _by, deliveries: _deliveries, ...told } = alert;
  return { event: 'alert-raised', text: alert.text, at: alert.at, alert: told };
};

/** H3: what an alert channel of type `webhook` is sent. Not a route: the receiver serves it. */
export const alertWebhook = (schemas: JsonSchemas): JsonSchema => ({
  post: {
    operationId: 'alertRaised',
    tags: ['Alerts'],
    summary: 'An alert was raised, or a channel is tested',
    description:
      'Sent to the URL of an alert channel until it answers 2xx within 15 s, for hours; it may come twice. ' +
      'With the channel’s `bearerToken` as `Authorization`, if it has one. Redirections are not followed.',
    security: [],
    parameters: [
      header('Idempotency-Key', 'The same each time that this alert is sent to this channel'),
      header('X-Casvault-Event', 'As `event` in the body'),
      header('X-Casvault-Timestamp', 'Seconds since 1970: refuse what is old'),
      header(
        'X-Casvault-Signature',
        '`sha256=` and the hexadecimal HMAC-SHA-256 of the time-stamp, a dot and the body, by the channel’s `hmacSecret`',
        false,
      ),
    ],
    requestBody: {
      required: true,
      content: { 'application/json': { schema: schemas.ofReply(alertNoticeSchema), example: example() } },
    },
    responses: { '2XX': { description: 'It was taken' } },
  },
});
