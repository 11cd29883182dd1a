import { databaseShape, readConfig, serviceShape } from '@casvault/service-host';
import { z } from 'zod';

const seconds = (least: number, most: number, usual: number) =>
  z.coerce.number().int().min(least).max(most).default(usual);

const schema = z.object({
  ...serviceShape,
  ...databaseShape,
  CASVAULT_SYNC_SECONDS: seconds(5, 86_400, 300).describe('Between two synchronisations of a platform'),
  CASVAULT_SYNC_DETAIL_SECONDS: seconds(0, 604_800, 3_600).describe(
    'Age at which the details of an unchanged VM are read again',
  ),
  CASVAULT_CAS_TIMEOUT_SECONDS: seconds(1, 300, 30).describe('For one request to a CVM'),
});
export type InventoryConfig = z.output<typeof schema>;

/** Throws ConfigProblems with everything that is wrong. */
export const inventoryConfig = (): InventoryConfig => readConfig(schema, process.env);
