import { type CasClient, type CasVmDetail, type CasVmRow } from '@casvault/cas-client';
import { type createRestoreVm, Fault, type RunItemId } from '@casvault/contracts';
import { type z } from 'zod';
import { matchDisks, restoreMarker, type RestoreVmRequest } from './restore-vm.rules.js';
import { type RestoreVm } from './restore-vm-store.js';

export type RestoreVmReply = z.infer<typeof createRestoreVm.reply>;

/** A VM that a restore has made, by the CVM's list and in detail. */
export interface MadeVm {
  readonly row: CasVmRow;
  readonly detail: CasVmDetail;
}

/** What the restore needs to know of the VM that was made. Throws PLATFORM_BUSY while it does not have all disks. */
export const describeMade = (
  request: RestoreVmRequest,
  { row, detail }: MadeVm,
): Omit<RestoreVmReply, 'diskService' | 'reasons'> => {
  const disks = matchDisks(request, detail.disks);
  if (disks === null)
    throw new Fault(
      'PLATFORM_BUSY',
      `VM ${row.name} does not have the disks of its restore (yet): ${detail.disks.length} of ${request.disks.length}`,
    );
  return { externalId: row.externalId, uuid: row.uuid, disks };
};

/** Whether a VM or template bears the marker of the restore in its description. */
export const isMarked = async (
  client: CasClient,
  row: Pick<CasVmRow, 'externalId'>,
  restoreId: RunItemId,
  signal: AbortSignal,
): Promise<boolean> =>
  (await client.describedVm(row.externalId, signal)).detail.description.includes(restoreMarker(restoreId));

/** The CVM's id of the template that came of the restore's VM: by its name or UUID, and its marker. */
export const markedTemplate = async (
  client: CasClient,
  { restoreId, vmName, vmUuid }: RestoreVm,
  signal: AbortSignal,
): Promise<string | null> => {
  for (const template of await client.templates(signal)) {
    if (template.name !== vmName && template.uuid !== vmUuid) continue;
    if (await isMarked(client, template, restoreId, signal)) return template.externalId;
  }
  return null;
};
