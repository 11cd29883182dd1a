import { z } from 'zod';
import { defineQuery, instantSchema, pageOf, pageRequestSchema } from './define.js';
import { licenceIdSchema } from './ids.js';

/** B1: what a licence can allow beyond the base. `advanced`: adjustable compression. */
export const licensedFeatureSchema = z.enum(['advanced']);
export type LicensedFeature = z.infer<typeof licensedFeatureSchema>;

/**
 * B1: what a licence says, as it is signed (docs/formats/licence-v1.md). Modules and features that this release does not know are kept and
 * mean nothing to it, so that one licence serves several releases.
 */
export const licenceTermsSchema = z.object({
  id: licenceIdSchema,
  /** Whom it was issued to. */
  holder: z.string().trim().min(1).max(128),
  /** How many of a kind it covers, by module: `backup-host`, `h3c-cas`. */
  modules: z.record(z.string().min(1).max(64), z.number().int().min(0).max(1_000_000)),
  features: z.array(z.string().min(1).max(64)).max(64),
  issuedAt: instantSchema,
  /** Null: it does not expire. */
  expiresAt: instantSchema.nullable(),
});
export type LicenceTerms = z.infer<typeof licenceTermsSchema>;

/**
 * `expiring`: valid for 30 days more at the most. `untrusted`: signed with a key that this installation no longer trusts; like an expired one it
 * allows nothing.
 */
export const licenceSchema = licenceTermsSchema.extend({
  state: z.enum(['valid', 'expiring', 'expired', 'untrusted']),
  importedAt: instantSchema,
});
export type Licence = z.infer<typeof licenceSchema>;

/**
 * The same licence again changes nothing. LICENCE_INVALID when it is none, is not signed with a trusted key, or has expired; ALREADY_EXISTS when
 * another has its id.
 */
export const importLicence = defineQuery('licensing-auth', 'import-licence', 1, {
  /** The text of a licence file, at most 16 KiB. */
  request: z.object({ text: z.string().trim().min(1).max(16_384) }),
  reply: licenceSchema,
});
/** Newest first. */
export const listLicences = defineQuery('licensing-auth', 'list-licences', 1, {
  request: pageRequestSchema,
  reply: pageOf(licenceSchema),
});
/** Which of the features no valid licence has. */
export const checkFeatures = defineQuery('licensing-auth', 'check-features', 1, {
  request: z.object({ features: z.array(licensedFeatureSchema) }),
  reply: z.object({ missing: z.array(licensedFeatureSchema) }),
});
