import { createAlertChannel, updateAlertChannel, type Problem } from '@casvault/contracts';
import { bearer, testGateway, type TestGateway } from '../testing/test-gateway.js';
import { channel, channelId } from './alert-examples.js';

const hook = { type: 'webhook', url: 'https://a.example/hooks/s3cret?key=s3cret' };
const mail = {
  type: 'smtp',
  host: 'mail.example',
  port: 587,
  from: 'backup@a.example',
  to: ['ops@a.example'],
  user: 'backup',
  password: 's3cret',
};

const refused: readonly [string, object, string, RegExp][] = [
  ['another scheme', { ...hook, url: 'ftp://a.example/s3cret' }, 'url', /http:\/\/ or https/],
  ['a file', { ...hook, url: 'file:///etc/s3cret' }, 'url', /http:\/\/ or https/],
  ['no URL', { ...hook, url: 's3cret' }, 'url', /http:\/\/ or https/],
  ['a user in the URL', { ...hook, url: 'https://me:s3cret@a.example/' }, 'url', /without a user/],
  ['a token with a line break', { ...hook, bearerToken: 's3cret\r\nX-A: b' }, 'bearerToken', /visible ASCII/],
  ['an empty secret', { ...hook, hmacSecret: '' }, 'hmacSecret', />=1/],
  ['no certificate', { ...hook, caCertificate: 'x' }, 'caCertificate', /PEM/],
  ['an unknown type', { ...mail, type: 'sms' }, 'type', /none of the allowed|Invalid/],
  ['port 0', { ...mail, port: 0 }, 'port', />=1/],
  ['port 65536', { ...mail, port: 65_536 }, 'port', /<=65535/],
  ['a host with a path', { ...mail, host: 'a/b' }, 'host', /host name or an IP/],
  ['a recipient with a line break', { ...mail, to: ['a@b.example\r\nBcc: c@d.example'] }, 'to.0', /email/],
  ['a sender with a name', { ...mail, from: 'Me <a@b.example>' }, 'from', /email/],
  ['no recipient', { ...mail, to: [] }, 'to', />=1/],
  ['51 recipients', { ...mail, to: Array(51).fill('a@b.example') }, 'to', /<=50/],
  ['a password in clear', { ...mail, tls: 'none' }, 'tls', /starttls or tls/],
  ['a password of nobody', { ...mail, user: null }, 'user', /required with a password/],
  ['a misspelt field', { ...mail, pasword: 's3cret' }, 'pasword', /not known here/],
];

describe('H3: what is taken for an alert channel', () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await testGateway();
    gateway.services.on(createAlertChannel, channel).on(updateAlertChannel, channel);
  });
  afterAll(() => gateway.stop());

  const send = (method: 'POST' | 'PUT', settings: object, more: object = {}) =>
    gateway.app.inject({
      method,
      url: `/api/v1/alert-channels${method === 'PUT' ? `/${channelId}` : ''}`,
      headers: bearer('administrator'),
      payload: { name: 'ops', settings, ...more },
    });

  it.each(refused)('refuses %s by name, and shows no secret', async (_what, settings, field, rule) => {
    for (const method of ['POST', 'PUT'] as const) {
      const response = await send(method, settings);
      expect(response.statusCode).toBe(400);
      const { errors } = response.json<Problem>();
      expect(errors).toContainEqual(expect.objectContaining({ field: `settings.${field}` }));
      expect(errors?.find((error) => error.field === `settings.${field}`)?.rule).toMatch(rule);
      expect(response.body).not.toContain('s3cret');
    }
  });

  it.each([
    ['an unknown kind', { kinds: ['run-lost'] }, 'filter.kinds.0'],
    ['no kind', { kinds: [] }, 'filter.kinds'],
    ['an unknown severity', { severities: ['info'] }, 'filter.severities.0'],
  ])('refuses %s', async (_what, filter, field) => {
    const { errors } = (await send('POST', hook, { filter })).json<Problem>();
    expect(errors).toContainEqual(expect.objectContaining({ field }));
  });

  it('seals secrets, and the URL, and tells the origin alone', async () => {
    expect((await send('POST', { ...hook, bearerToken: 'tok' })).statusCode).toBe(201);
    const webhook = gateway.services.last(createAlertChannel);
    expect(webhook?.settings).toMatchObject({ origin: 'https://a.example', hmacSecret: null });
    expect(JSON.stringify(webhook)).not.toMatch(/s3cret|tok"/);
    expect((await send('POST', mail)).statusCode).toBe(201);
    expect(gateway.services.last(createAlertChannel)?.settings).toMatchObject({
      tls: 'starttls',
      password: expect.stringMatching(/^sealed:v1:/) as string,
    });
  });

  it('leaves absent secrets absent in a change, and takes null as none', async () => {
    expect((await send('PUT', { type: 'webhook', hmacSecret: null })).statusCode).toBe(200);
    const { settings } = gateway.services.last(updateAlertChannel)!;
    expect(settings).toMatchObject({ type: 'webhook', hmacSecret: null });
    expect(settings).not.toHaveProperty('url', expect.anything());
    expect(settings).not.toHaveProperty('bearerToken', expect.anything());
  });
});
