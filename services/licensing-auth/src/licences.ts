import { Fault, type Clock, type Licence, type LicensedFeature, type Logger } from '@casvault/contracts';
import { claimedTerms, readLicence } from '@casvault/licence';
import { stateOfLicence } from './licence.rules.js';
import { type LicenceRow, type LicenceStore } from './licence-store.js';

/** Licences in memory at once while features are looked for: 16 KiB each at the most. */
const readAtOnce = 100;

interface World {
  readonly store: LicenceStore;
  /** Public keys of the issuers that this installation trusts. */
  readonly keys: readonly string[];
  readonly clock: Clock;
  readonly logger: Logger;
}

/** B1: what licences there are, and what they allow: whenever somebody asks, out of their signed text. */
export class Licences {
  constructor(private readonly world: World) {}

  /** LICENCE_INVALID when it is none, is not signed with a trusted key, or has expired; ALREADY_EXISTS when another has its id. */
  async import(text: string): Promise<Licence> {
    const { store, keys, clock, logger } = this.world;
    const { id, holder, features, expiresAt } = await readLicence(text, keys);
    const now = clock.now();
    if (stateOfLicence({ expiresAt }, now) === 'expired') throw expired(expiresAt);
    const row = await store.add({ id, text, importedAt: now });
    logger.info({ licenceId: id, holder, features, expiresAt }, 'licence imported');
    return this.view(row, now);
  }

  async page(request: { cursor?: string | undefined; limit: number }): Promise<{
    items: Licence[];
    nextCursor: string | null;
  }> {
    const { store, clock } = this.world;
    const now = clock.now();
    const { items: rows, nextCursor } = await store.page(request);
    const items: Licence[] = [];
    for (const row of rows) items.push(await this.view(row, now));
    return { items, nextCursor };
  }

  /** Which of the features no licence has that is valid now. */
  async missing(features: readonly LicensedFeature[]): Promise<LicensedFeature[]> {
    const missing = new Set(features);
    let cursor: string | undefined;
    do {
      const { items, nextCursor } = await this.page({ cursor, limit: readAtOnce });
      for (const { state, features: held } of items)
        if (state === 'valid' || state === 'expiring')
          for (const feature of features) if (held.includes(feature)) missing.delete(feature);
      cursor = nextCursor ?? undefined;
    } while (missing.size > 0 && cursor !== undefined);
    return [...missing];
  }

  private async view({ text, importedAt }: LicenceRow, now: Date): Promise<Licence> {
    const imported = { importedAt: importedAt.toISOString() };
    try {
      const terms = await readLicence(text, this.world.keys);
      return { ...terms, ...imported, state: stateOfLicence(terms, now) };
    } catch (error) {
      if (!Fault.is(error) || error.code !== 'LICENCE_INVALID') throw error;
      return { ...claimedTerms(text), ...imported, state: 'untrusted' };
    }
  }
}

const expired = (expiresAt: string | null): Fault =>
  new Fault('LICENCE_INVALID', `licence: must not have expired, has at ${expiresAt}`, {
    details: { field: 'licence', rule: 'must not have expired', value: expiresAt },
  });
