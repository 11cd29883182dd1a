import { newId, type AlertChannelId, type ChannelSettings, type Sealed } from '@casvault/contracts';
import { changedSettings, viewOf } from './alert-channel.rules.js';

const sealed = (text: string): Sealed => `sealed:v1:${text}` as Sealed;
const webhook: Extract<ChannelSettings, { type: 'webhook' }> = {
  type: 'webhook',
  origin: 'https://a.example',
  url: sealed('url'),
  hmacSecret: sealed('hmac'),
  bearerToken: sealed('bearer'),
  caCertificate: null,
};
const smtp: Extract<ChannelSettings, { type: 'smtp' }> = {
  type: 'smtp',
  host: 'mail.example',
  port: 587,
  tls: 'starttls',
  user: 'backup',
  password: sealed('password'),
  from: 'backup@a.example',
  to: ['ops@a.example'],
  caCertificate: null,
};
const { password: _password, ...smtpChange } = smtp;

describe('H3: alert channels', () => {
  it.each([webhook, smtp])('shows no secret of $type', (settings) => {
    const filter = { kinds: null, severities: null };
    const channel = {
      id: newId<AlertChannelId>(),
      name: 'ops',
      enabled: true,
      filter,
      settings,
      createdAt: '',
    };
    const shown = viewOf(channel);
    expect(JSON.stringify(shown)).not.toContain('sealed:');
    expect(shown.settings).toMatchObject(
      settings.type === 'smtp' ? { hasPassword: true } : { hasHmacSecret: true, hasBearerToken: true },
    );
  });

  it('keeps secrets that a change does not name, and takes away those that are null', () => {
    const caCertificate = null;
    expect(changedSettings(webhook, { type: 'webhook', caCertificate })).toEqual(webhook);
    expect(changedSettings(webhook, { type: 'webhook', hmacSecret: null, caCertificate })).toEqual({
      ...webhook,
      hmacSecret: null,
    });
    const path = { origin: webhook.origin, url: sealed('other path') };
    expect(changedSettings(webhook, { type: 'webhook', ...path, caCertificate })).toEqual({
      ...webhook,
      ...path,
    });
    expect(changedSettings(smtp, { ...smtpChange, to: ['b@a.example'] })).toEqual({
      ...smtp,
      to: ['b@a.example'],
    });
  });

  it.each([
    ['another origin', 'hmacSecret', webhook, { origin: 'https://b.example', url: sealed('b') }],
    ['another host', 'password', smtp, { ...smtpChange, host: 'mail.b.example' }],
    ['another port', 'password', smtp, { ...smtpChange, port: 25 }],
    ['a clear connection', 'password', smtp, { ...smtpChange, tls: 'none' as const }],
  ])('takes no kept secret to %s', (_what, field, old, change) => {
    const asked = { ...(old.type === 'webhook' ? { type: 'webhook', caCertificate: null } : {}), ...change };
    expect(() => changedSettings(old, asked as never)).toThrow(`settings.${field}: must be given anew`);
  });

  it('takes secrets that are given to another server, and needs a URL when the type changes', () => {
    const asked = {
      type: 'webhook',
      origin: 'https://b.example',
      url: sealed('b'),
      caCertificate: null,
    } as const;
    const given = { ...asked, hmacSecret: null, bearerToken: sealed('new') };
    expect(changedSettings(webhook, given)).toEqual(given);
    expect(changedSettings(smtp, asked)).toEqual({ ...asked, hmacSecret: null, bearerToken: null });
    expect(() => changedSettings(smtp, { type: 'webhook', caCertificate: null })).toThrow(
      /settings.url: is required/,
    );
    expect(changedSettings(webhook, smtpChange)).toEqual({ ...smtp, password: null });
  });
});
