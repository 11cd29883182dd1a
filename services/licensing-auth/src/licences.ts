import {
  Fault,
  type Clock,
  type Licence,
  type LicensedFeature,
  type LicenceTerms,
  type Logger,
} from '@casvault/contracts';
import { readLicence } from '@casvault/licence';
import { stateOfLicence } from './licence.rules.js';
import { type LicenceRow, type LicenceStore } from './licence-store.js';

/** Of licences that have not expired, so many are read for what they allow: 16 KiB each at the most. */
const mostRead = 256;

interface World {
  readonly store: LicenceStore;
  /** Public keys of the issuers that this installation trusts. */
  readonly keys: readonly string[];
  readonly clock: Clock;
  readonly logger: Logger;
}

/** B1: what licences there are, and what they allow. Their text is believed, never the row alone. */
export class Licences {
  constructor(private readonly world: World) {}

  /** LICENCE_INVALID when it is none, is not signed with a trusted key, or has expired; ALREADY_EXISTS when another has its id. */
  async import(text: string): Promise<Licence> {
    const { store, keys, clock, logger } = this.world;
    const { id, holder, modules, features, issuedAt, expiresAt } = await readLicence(text, keys);
    const now = clock.now();
    if (expiresAt !== null && new Date(expiresAt) <= now) throw expired(expiresAt);
    const row = await store.add({
      id,
      holder,
      modules,
      features,
      issuedAt: new Date(issuedAt),
      expiresAt: expiresAt === null ? null : new Date(expiresAt),
      text,
      importedAt: now,
    });
    logger.info({ licenceId: id, holder, features, expiresAt }, 'licence imported');
    return this.view(row, now);
  }

  async page(request: { cursor?: string | undefined; limit: number }): Promise<{
    items: Licence[];
    nextCursor: string | null;
  }> {
    const { store, clock } = this.world;
    const now = clock.now();
    const { items: rows, nextCursor } = await store.page(request, (row) => row);
    const items: Licence[] = [];
    for (const row of rows) items.push(await this.view(row, now));
    return { items, nextCursor };
  }

  /** Which of the features no licence has that is valid now. */
  async missing(features: readonly LicensedFeature[]): Promise<LicensedFeature[]> {
    const { store, clock } = this.world;
    const missing = new Set(features);
    for (const row of await store.unexpired(clock.now(), mostRead)) {
      if (missing.size === 0) break;
      const terms = await this.termsOf(row);
      if (terms === null || stateOfLicence(terms, clock.now()) === 'expired') continue;
      for (const feature of features) if (terms.features.includes(feature)) missing.delete(feature);
    }
    return [...missing];
  }

  /** Null when no trusted key has signed its text. */
  private async termsOf({ text }: LicenceRow): Promise<LicenceTerms | null> {
    try {
      return await readLicence(text, this.world.keys);
    } catch (error) {
      if (!Fault.is(error) || error.code !== 'LICENCE_INVALID') throw error;
      return null;
    }
  }

  private async view(row: LicenceRow, now: Date): Promise<Licence> {
    const trusted = await this.termsOf(row);
    const terms = trusted ?? termsOfRow(row);
    const state = trusted === null ? 'untrusted' : stateOfLicence(terms, now);
    return { ...terms, state, importedAt: row.importedAt.toISOString() };
  }
}

const expired = (expiresAt: string): Fault =>
  new Fault('LICENCE_INVALID', `licence: must not have expired, has at ${expiresAt}`, {
    details: { field: 'licence', rule: 'must not have expired', value: expiresAt },
  });

const termsOfRow = ({ id, holder, modules, features, issuedAt, expiresAt }: LicenceRow): LicenceTerms => ({
  id: id as LicenceTerms['id'],
  holder,
  modules,
  features,
  issuedAt: issuedAt.toISOString(),
  expiresAt: expiresAt?.toISOString() ?? null,
});
