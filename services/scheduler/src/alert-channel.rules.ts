import {
  Fault,
  type AlertChannel,
  type ChannelSettings,
  type Sealed,
  type updateAlertChannel,
} from '@casvault/contracts';
import { type z } from 'zod';

/** Of each channel alerts have a delivery, and the list shows it. */
export const maxChannels = 50;

type Webhook = Extract<ChannelSettings, { type: 'webhook' }>;
type Smtp = Extract<ChannelSettings, { type: 'smtp' }>;
type SettingsChange = z.output<typeof updateAlertChannel.request>['settings'];
type ChangeOf<T extends SettingsChange['type']> = Extract<SettingsChange, { type: T }>;

/** A channel as it is kept. */
export interface StoredChannel extends Omit<AlertChannel, 'settings'> {
  readonly settings: ChannelSettings;
}

/** Without its secrets. */
export const viewOf = ({ settings, ...channel }: StoredChannel): AlertChannel => {
  if (settings.type === 'smtp') {
    const { password, ...shown } = settings;
    return { ...channel, settings: { ...shown, hasPassword: password !== null } };
  }
  const { url: _, hmacSecret, bearerToken, ...shown } = settings;
  const has = { hasHmacSecret: hmacSecret !== null, hasBearerToken: bearerToken !== null };
  return { ...channel, settings: { ...shown, ...has } };
};

/** A secret that was kept for one server is not told to another by whoever does not know it. */
const secretOf = (
  field: string,
  given: Sealed | null | undefined,
  old: Sealed | null,
  isSameServer: boolean,
): Sealed | null => {
  if (given !== undefined) return given;
  if (old === null || isSameServer) return old;
  throw new Fault(
    'INPUT_INVALID',
    `settings.${field}: must be given anew, or null, when the server is another`,
  );
};

/** The settings after a change: secrets that are absent stay. INPUT_INVALID when they would go to another server. */
export const changedSettings = (old: ChannelSettings, change: SettingsChange): ChannelSettings =>
  change.type === 'webhook'
    ? changedWebhook(old.type === 'webhook' ? old : null, change)
    : changedSmtp(old.type === 'smtp' ? old : null, change);

const changedWebhook = (old: Webhook | null, change: ChangeOf<'webhook'>): Webhook => {
  const { origin = old?.origin, url = old?.url } = change;
  if (origin === undefined || url === undefined)
    throw new Fault('INPUT_INVALID', 'settings.url: is required when the type changes');
  const isSame = origin === old?.origin;
  return {
    ...change,
    origin,
    url,
    hmacSecret: secretOf('hmacSecret', change.hmacSecret, old?.hmacSecret ?? null, isSame),
    bearerToken: secretOf('bearerToken', change.bearerToken, old?.bearerToken ?? null, isSame),
  };
};

const changedSmtp = (old: Smtp | null, change: ChangeOf<'smtp'>): Smtp => {
  const isSame = old?.host === change.host && old.port === change.port && old.tls === change.tls;
  return { ...change, password: secretOf('password', change.password, old?.password ?? null, isSame) };
};
