import { type CasStorageVolume, type NewDisk } from '@casvault/cas-client';
import { type createRestoreVolume, Fault } from '@casvault/contracts';
import { type z } from 'zod';
import { judgeHostState, judgeStorage, type RestoreSite, volumeBytes } from './restore-vm.rules.js';

export type RestoreVolumeRequest = z.infer<typeof createRestoreVolume.request>;

/** The VM that gets the volume, as its platform lists it now. */
interface Receiver {
  readonly name: string;
  readonly hostExternalId: string;
}

/** Everything that can be judged before the volume is made (S2, S3); INPUT_INVALID or CONFLICT names what is wrong. */
export const judgeRestoreVolume = (
  request: RestoreVolumeRequest,
  site: Pick<RestoreSite, 'host' | 'storages'>,
  receiver: Receiver | null,
): void => {
  judgeHostState(site.host);
  const { storageName, disk } = request;
  judgeStorage({ storageName, disks: [disk], volumes: [], preallocation: 'thin' }, site);
  if (receiver !== null && receiver.hostExternalId !== site.host.externalId)
    throw new Fault(
      'INPUT_INVALID',
      `attachTo: VM ${receiver.name} is not on host ${site.host.name}: name its host and a storage pool there`,
      { details: { field: 'attachTo' } },
    );
};

/** The bus of the point's disk; one that is not known is no obstacle: every guest of the platform knows virtio. */
export const busOf = ({ disk }: RestoreVolumeRequest): NewDisk['bus'] =>
  disk.bus === 'unknown' ? 'virtio' : disk.bus;

/** The path to write, if the volume is what was asked for. PLATFORM_BUSY when it is not (yet). */
export const writtenPath = ({ disk }: RestoreVolumeRequest, volume: CasStorageVolume): string => {
  const sizeBytes = volumeBytes(disk.sizeBytes);
  if (volume.path !== null && volume.format === disk.format && volume.sizeBytes === sizeBytes)
    return volume.path;
  throw new Fault(
    'PLATFORM_BUSY',
    `volume ${volume.name} is not (yet) a ${disk.format} file of ${sizeBytes} bytes`,
  );
};
