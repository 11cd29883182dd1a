import { z } from 'zod';
import { alertKindSchema, alertSeveritySchema } from './alert.js';
import {
  defineQuery,
  emptySchema,
  instantSchema,
  pageOf,
  pageRequestSchema,
  sealedSchema,
} from './define.js';
import { alertChannelIdSchema } from './ids.js';

/** Which alerts a channel takes. */
export const alertFilterSchema = z.object({
  /** Null: all kinds, also those to come. */
  kinds: z.array(alertKindSchema).min(1).nullable().default(null),
  /** Null: all. */
  severities: z.array(alertSeveritySchema).min(1).nullable().default(null),
});
export type AlertFilter = z.infer<typeof alertFilterSchema>;

/** PEM of the authority that signed the server's certificate, in place of the system's authorities. */
const caCertificateSchema = z
  .string()
  .max(16_384)
  .startsWith('-----BEGIN CERTIFICATE-----', 'must be a PEM certificate')
  .nullable()
  .default(null);

/** How a channel sends, as it is kept: secrets sealed. */
export const webhookSettingsSchema = z.object({
  type: z.literal('webhook'),
  /** Scheme, host and port of the URL; the rest of it may be a secret, as those of chat services are. */
  origin: z.string(),
  url: sealedSchema,
  /** Signs each request. */
  hmacSecret: sealedSchema.nullable(),
  bearerToken: sealedSchema.nullable(),
  caCertificate: caCertificateSchema,
});

/** `starttls`: the connection begins in clear and must turn to TLS; `tls`: it is TLS from the first byte. */
export const smtpTlsSchema = z.enum(['none', 'starttls', 'tls']);

export const smtpSettingsSchema = z.object({
  type: z.literal('smtp'),
  host: z.string().regex(/^[A-Za-z0-9.:_-]{1,253}$/, 'must be a host name or an IP address'),
  port: z.number().int().min(1).max(65_535),
  tls: smtpTlsSchema.default('starttls'),
  user: z.string().min(1).max(256).nullable().default(null),
  password: sealedSchema.nullable(),
  from: z.email().max(254),
  to: z.array(z.email().max(254)).min(1).max(50),
  caCertificate: caCertificateSchema,
});

export const channelSettingsSchema = z.discriminatedUnion('type', [
  webhookSettingsSchema,
  smtpSettingsSchema,
]);
export type ChannelSettings = z.infer<typeof channelSettingsSchema>;

/** As people see it: of a secret only whether there is one. */
export const alertChannelSchema = z.object({
  id: alertChannelIdSchema,
  name: z.string(),
  enabled: z.boolean(),
  filter: alertFilterSchema,
  settings: z.discriminatedUnion('type', [
    webhookSettingsSchema
      .omit({ url: true, hmacSecret: true, bearerToken: true })
      .extend({ hasHmacSecret: z.boolean(), hasBearerToken: z.boolean() }),
    smtpSettingsSchema.omit({ password: true }).extend({ hasPassword: z.boolean() }),
  ]),
  createdAt: instantSchema,
});
export type AlertChannel = z.infer<typeof alertChannelSchema>;

const channelShape = {
  name: z.string().trim().min(1).max(128),
  /** A disabled channel is sent nothing new; what waits for it goes on to be tried. */
  enabled: z.boolean().default(true),
  filter: alertFilterSchema.prefault({}),
};
/** Idempotent by `id`. CONFLICT beyond 50 channels. */
export const createAlertChannel = defineQuery('scheduler', 'create-alert-channel', 1, {
  request: z.object({ id: alertChannelIdSchema, ...channelShape, settings: channelSettingsSchema }),
  reply: alertChannelSchema,
});
/**
 * Replaces all but the secrets that are absent: those stay, as long as they go to where they went. INPUT_INVALID when the
 * server is another and a secret is not given anew. Idempotent.
 */
export const updateAlertChannel = defineQuery('scheduler', 'update-alert-channel', 1, {
  request: z.object({
    channelId: alertChannelIdSchema,
    ...channelShape,
    settings: z.discriminatedUnion('type', [
      webhookSettingsSchema.partial({ origin: true, url: true, hmacSecret: true, bearerToken: true }),
      smtpSettingsSchema.partial({ password: true }),
    ]),
  }),
  reply: alertChannelSchema,
});
/** What waits to be sent by it is dropped. */
export const deleteAlertChannel = defineQuery('scheduler', 'delete-alert-channel', 1, {
  request: z.object({ channelId: alertChannelIdSchema }),
  reply: emptySchema,
});
export const listAlertChannels = defineQuery('scheduler', 'list-alert-channels', 1, {
  request: pageRequestSchema,
  reply: pageOf(alertChannelSchema),
});
export const getAlertChannel = defineQuery('scheduler', 'get-alert-channel', 1, {
  request: z.object({ channelId: alertChannelIdSchema }),
  reply: alertChannelSchema,
});
export const alertTestSchema = z.object({
  delivered: z.boolean(),
  /** Why it was not, as the server or the network said it; of an e-mail that was, the recipients that were refused. */
  error: z.string().nullable(),
});
export type AlertTest = z.infer<typeof alertTestSchema>;
/** Sends a test by the channel now, disabled or not, once. */
export const testAlertChannel = defineQuery('scheduler', 'test-alert-channel', 1, {
  request: z.object({ channelId: alertChannelIdSchema }),
  reply: alertTestSchema,
});
