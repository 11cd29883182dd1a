import { z } from 'zod';
import { createAlertChannel, smtpSettingsSchema, webhookSettingsSchema } from './alert-channel.js';
import { secretSchema } from './rest.js';

/** Bodies of alert channels: secrets in clear, which the gateway seals. */

/** Said of the whole field: what is nullable or has a default is another schema than the one inside. */
const secret = <T extends z.ZodType>(schema: T): T => schema.meta({ format: 'password', writeOnly: true });

const isPlainUrl = (text: string): boolean => {
  const url = URL.canParse(text) ? new URL(text) : null;
  return url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '';
};
const urlSchema = secretSchema.refine(isPlainUrl, 'must be http:// or https://, without a user in it');
/** Goes into a header. */
const tokenSchema = secretSchema.refine((text) => /^[!-~]+$/.test(text), 'must be visible ASCII, no blanks');

const newWebhookSchema = webhookSettingsSchema.omit({ origin: true }).extend({
  /** Only its origin is shown again: the path may be a secret. */
  url: secret(urlSchema),
  hmacSecret: secret(secretSchema.nullable().default(null)),
  bearerToken: secret(tokenSchema.nullable().default(null)),
});
const newSmtpSchema = smtpSettingsSchema.extend({ password: secret(secretSchema.nullable().default(null)) });

interface Credentials {
  readonly tls: string;
  readonly user: string | null;
  readonly password?: string | null | undefined;
}
const hasUserForPassword = ({ user, password }: Credentials): boolean =>
  password === null || password === undefined || user !== null;
const isPrivate = ({ tls, user }: Credentials): boolean => tls !== 'none' || user === null;
const userRule = { path: ['user'], error: 'is required with a password' };
const tlsRule = { path: ['tls'], error: 'must be starttls or tls: a password does not travel in clear' };

export const newAlertChannelBodySchema = createAlertChannel.request.omit({ id: true }).extend({
  settings: z.discriminatedUnion('type', [
    newWebhookSchema,
    newSmtpSchema.refine(hasUserForPassword, userRule).refine(isPrivate, tlsRule),
  ]),
});
export type NewAlertChannelBody = z.input<typeof newAlertChannelBodySchema>;

/** A secret that is absent stays; null takes it away. */
export const alertChannelBodySchema = newAlertChannelBodySchema.extend({
  settings: z.discriminatedUnion('type', [
    newWebhookSchema.extend({
      url: secret(urlSchema.optional()),
      hmacSecret: secret(secretSchema.nullable().optional()),
      bearerToken: secret(tokenSchema.nullable().optional()),
    }),
    newSmtpSchema
      .extend({ password: secret(secretSchema.nullable().optional()) })
      .refine(hasUserForPassword, userRule)
      .refine(isPrivate, tlsRule),
  ]),
});
export type AlertChannelBody = z.input<typeof alertChannelBodySchema>;
