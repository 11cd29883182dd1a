import { type CasClient, type CasVmRow } from '@casvault/cas-client';

/** Deletes a VM, or finds that it is gone: an earlier try, cut off, may have asked the CVM for the same. Throws what the CVM says while it is there. */
export const deleteOnce = async (
  client: Pick<CasClient, 'deleteVm' | 'vmByUuid'>,
  { externalId, uuid }: Pick<CasVmRow, 'externalId' | 'uuid'>,
  keepDisks: boolean,
  signal: AbortSignal,
): Promise<void> => {
  try {
    await client.deleteVm(externalId, { keepDisks }, signal);
  } catch (error) {
    if (signal.aborted || (await client.vmByUuid(uuid, signal)) !== null) throw error;
  }
};
