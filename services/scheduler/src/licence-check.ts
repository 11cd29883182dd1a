import { checkFeatures, Fault, type JobDefinition, type LicensedFeature } from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';

/** What of a job says how it is compressed: a backup or a copy. */
type Compressing = Pick<Extract<JobDefinition, { kind: 'backup' | 'copy' }>, 'options'>;

const feature: LicensedFeature = 'advanced';
const field = 'definition.options.compression.mode';

/** B1: LICENCE_REQUIRED when an option takes a feature that no valid licence has. Options of the base ask nobody. */
export const requireLicence = async (
  client: MessagingClient,
  { options }: Compressing,
  signal: AbortSignal,
): Promise<void> => {
  const { mode } = options.compression;
  if (mode !== 'adjustable') return;
  const { missing } = await client.request(checkFeatures, { features: [feature] }, { signal });
  if (missing.length === 0) return;
  throw new Fault('LICENCE_REQUIRED', `${field}: ${mode} needs a valid licence with the feature ${feature}`, {
    details: { field, value: mode, feature },
  });
};
