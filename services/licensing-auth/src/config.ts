import { isLicenceKey } from '@casvault/licence';
import { databaseShape, readConfig, serviceShape } from '@casvault/service-host';
import { z } from 'zod';

const schema = z.object({
  ...serviceShape,
  ...databaseShape,
  CASVAULT_SESSION_MINUTES: z.coerce
    .number()
    .int()
    .min(5)
    .max(10_080)
    .default(720)
    .describe('How long a sign-in lasts'),
  CASVAULT_BOOTSTRAP_PASSWORD_FILE: z
    .string()
    .optional()
    .describe('Where the first administrator’s password is written, once, instead of standard output'),
  CASVAULT_LICENCE_KEYS: z
    .string()
    .default('')
    .transform((text) => text.split(',').map((key) => key.trim()))
    .transform((keys) => keys.filter((key) => key !== ''))
    .refine(
      (keys) => keys.every(isLicenceKey),
      'must be Ed25519 public keys of 32 bytes in base64url, comma between them',
    )
    .describe('Public keys of those whose licences are accepted; none: no licence is'),
});
export type LicensingAuthConfig = z.output<typeof schema>;

/** Throws ConfigProblems with everything that is wrong. */
export const licensingAuthConfig = (): LicensingAuthConfig => readConfig(schema, process.env);
