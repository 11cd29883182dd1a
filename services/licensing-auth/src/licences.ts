import {
  Fault,
  licensedFeatureSchema,
  type Clock,
  type Licence,
  type LicensedFeature,
  type Logger,
} from '@casvault/contracts';
import { claimedTerms, readLicence } from '@casvault/licence';
import { daysLeftOf, isInForce, stateOfLicence } from './licence.rules.js';
import { type LicenceRow, type LicenceStore } from './licence-store.js';

/** Licences in memory at once while all are gone through: 16 KiB each at the most. */
const readAtOnce = 100;

interface World {
  readonly store: LicenceStore;
  /** Public keys of the issuers that this installation trusts. */
  readonly keys: readonly string[];
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface LicenceSurvey {
  readonly counts: Readonly<Record<Licence['state'], number>>;
  /**
   * Days until the last licence with a feature ends: 0 when all that name it have ended or are not trusted, Infinity when one does not end.
   * A feature that none names is not in it: who never had it has nothing that could end.
   */
  readonly daysLeft: ReadonlyMap<LicensedFeature, number>;
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
    for await (const licence of this.all()) {
      if (isInForce(licence))
        for (const feature of features) if (licence.features.includes(feature)) missing.delete(feature);
      if (missing.size === 0) break;
    }
    return [...missing];
  }

  async survey(): Promise<LicenceSurvey> {
    const now = this.world.clock.now();
    const counts = { valid: 0, expiring: 0, expired: 0, untrusted: 0 };
    const daysLeft = new Map<LicensedFeature, number>();
    for await (const licence of this.all()) {
      counts[licence.state] += 1;
      const days = daysLeftOf(licence, now);
      for (const feature of licensedFeatureSchema.options)
        if (licence.features.includes(feature))
          daysLeft.set(feature, Math.max(days, daysLeft.get(feature) ?? 0));
    }
    return { counts, daysLeft };
  }

  private async *all(): AsyncGenerator<Licence> {
    let cursor: string | undefined;
    do {
      const { items, nextCursor } = await this.page({ cursor, limit: readAtOnce });
      yield* items;
      cursor = nextCursor ?? undefined;
    } while (cursor !== undefined);
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
