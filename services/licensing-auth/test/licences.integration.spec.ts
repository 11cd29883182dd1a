import { randomBytes } from 'node:crypto';
import {
  checkFeatures,
  importLicence,
  listLicences,
  newId,
  type LicenceId,
  type LicenceTerms,
} from '@casvault/contracts';
import { issueLicence, newLicenceKey, type LicenceKey } from '@casvault/licence';
import { type MessagingClient } from '@casvault/messaging';
import { freePort, parsePrometheusText, until, type RunningProcess } from '@casvault/testkit';
import type pg from 'pg';
import { LicensingAuthWorld } from './licensing-auth-world.js';

const dayMs = 86_400_000;
const inDays = (days: number): string => new Date(Date.now() + days * dayMs).toISOString();

describe('B1: licences', () => {
  let world: LicensingAuthWorld;
  let client: MessagingClient;
  let rows: pg.Client;
  let service: RunningProcess;
  let httpPort: number;
  let [issuer, former]: LicenceKey[] = [];

  const trusting = async (...keys: (LicenceKey | undefined)[]): Promise<void> => {
    service = await world.service({
      CASVAULT_LICENCE_KEYS: keys.map((key) => key?.publicKey).join(','),
      CASVAULT_HTTP_PORT: String(httpPort),
    });
  };
  beforeAll(async () => {
    world = await LicensingAuthWorld.start(randomBytes(32).toString('base64'));
    ({ client, rows } = world);
    httpPort = await freePort();
    [issuer, former] = [await newLicenceKey(), await newLicenceKey()];
    await trusting(former, issuer);
  });
  afterAll(async () => {
    await service.stop();
    await world.stop();
  });
  beforeEach(() => rows.query('DELETE FROM licence'));

  const terms = (more: Partial<LicenceTerms> = {}): LicenceTerms => ({
    id: newId<LicenceId>(),
    holder: 'Example GmbH',
    modules: { 'backup-host': 20, 'h3c-cas': 2 },
    features: ['advanced'],
    issuedAt: inDays(-1),
    expiresAt: null,
    ...more,
  });
  const sign = (one: LicenceTerms, key = issuer) => issueLicence(one, key?.privateKey ?? {});
  const bring = (text: string) => client.request(importLicence, { text });
  const missing = async () => (await client.request(checkFeatures, { features: ['advanced'] })).missing;
  const states = async () =>
    (await client.request(listLicences, {})).items.map(({ holder, state }) => [holder, state]);
  /** Licences by state, and the days left of each feature, as a scrape has them. */
  const scraped = async () => {
    const answer = await fetch(`http://127.0.0.1:${httpPort}/metrics`);
    const { samples } = parsePrometheusText(await answer.text());
    const by = (metric: string, label: string) =>
      Object.fromEntries<number>(
        samples
          .filter(({ name }) => name === metric)
          .map(({ labels, value }) => [labels[label] ?? '', value] as const),
      );
    return {
      counts: by('casvault_licences', 'state'),
      daysLeft: by('casvault_licence_days_left', 'feature'),
    };
  };

  it('allows what one of them has, as long as it is valid', async () => {
    expect(await missing()).toEqual(['advanced']);
    await bring(await sign(terms({ holder: 'base', features: ['what a later release knows'] })));
    expect(await missing()).toEqual(['advanced']);
    const ending = terms({ holder: 'ending', expiresAt: inDays(20) });
    expect(await bring(await sign(ending))).toMatchObject({ ...ending, state: 'expiring' });
    expect(await missing()).toEqual([]);
    expect(await states()).toEqual([
      ['ending', 'expiring'],
      ['base', 'valid'],
    ]);
  });

  it('expire: what they had is missing then', async () => {
    await bring(await sign(terms({ expiresAt: new Date(Date.now() + 1_500).toISOString() })));
    expect(await missing()).toEqual([]);
    const ends = Date.now() + 1_500;
    while ((await missing()).length === 0) expect(Date.now()).toBeLessThan(ends + 10_000);
    expect(await states()).toEqual([['Example GmbH', 'expired']]);
  });

  it('are refused when they have expired, are nobody’s, or take an id that another has; the same one again changes nothing', async () => {
    const past = { code: 'LICENCE_INVALID', details: { field: 'licence', rule: 'must not have expired' } };
    await expect(bring(await sign(terms({ expiresAt: inDays(-1) })))).rejects.toMatchObject(past);
    await expect(bring('not a licence')).rejects.toMatchObject({ code: 'LICENCE_INVALID' });
    const stranger = await newLicenceKey();
    await expect(bring(await sign(terms(), stranger))).rejects.toMatchObject({ code: 'LICENCE_INVALID' });
    const first = terms();
    const text = await sign(first);
    expect(await bring(text)).toEqual(await bring(`${text}\n`));
    await expect(bring(await sign({ ...first, holder: 'another' }))).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    });
    expect(await states()).toEqual([['Example GmbH', 'valid']]);
  });

  it('are believed by their signature: a row that somebody changed allows nothing', async () => {
    const base = terms({ features: [] });
    const [header, , signature] = (await sign(base)).split('.');
    await bring(await sign(base));
    const wanted = Buffer.from(JSON.stringify({ ...base, features: ['advanced'] })).toString('base64url');
    await rows.query('UPDATE licence SET text = $1', [[header, wanted, signature].join('.')]);
    expect(await missing()).toEqual(['advanced']);
    expect(await states()).toEqual([['Example GmbH', 'untrusted']]);
  });

  it('H4: are counted by state, and how long the last of them lasts is told of what they name', async () => {
    const none = { valid: 0, expiring: 0, expired: 0, untrusted: 0 };
    expect(await scraped()).toEqual({ counts: none, daysLeft: {} });
    const soon = new Date(Date.now() + 3_000).toISOString();
    await bring(await sign(terms({ expiresAt: soon })));
    await bring(await sign(terms({ features: ['what a later release knows'] })));
    const ended = { counts: { ...none, valid: 1, expired: 1 }, daysLeft: { advanced: 0 } };
    await until(async () => (await scraped()).daysLeft['advanced'] === 0);
    expect(await scraped()).toEqual(ended);
    for (const days of [20, 50, 40]) await bring(await sign(terms({ expiresAt: inDays(days) })));
    const { counts, daysLeft } = await scraped();
    expect(counts).toEqual({ valid: 3, expiring: 1, expired: 1, untrusted: 0 });
    expect(daysLeft['advanced']).toBeGreaterThan(49.9);
    expect(daysLeft['advanced']).toBeLessThanOrEqual(50);
    await bring(await sign(terms()));
    expect((await scraped()).daysLeft).toEqual({ advanced: Infinity });
  });

  it('of an issuer who is no longer trusted allow nothing, and are shown so', async () => {
    await bring(await sign(terms(), former));
    expect(await missing()).toEqual([]);
    await service.stop();
    await trusting(issuer);
    expect(await missing()).toEqual(['advanced']);
    expect(await states()).toEqual([['Example GmbH', 'untrusted']]);
    expect(await scraped()).toMatchObject({ counts: { valid: 0, untrusted: 1 }, daysLeft: { advanced: 0 } });
  });

  it('come in pages', async () => {
    for (const holder of ['first', 'second', 'third']) await bring(await sign(terms({ holder })));
    const page = await client.request(listLicences, { limit: 2 });
    expect(page.items.map(({ holder }) => holder)).toEqual(['third', 'second']);
    const rest = await client.request(listLicences, { limit: 2, cursor: page.nextCursor ?? '' });
    expect(rest).toMatchObject({ items: [{ holder: 'first' }], nextCursor: null });
  });
});
