import { Fault, systemDiskOf, type CreationTarget, type Point } from '@casvault/contracts';

type Source = Pick<Point, 'id' | 'vmName' | 'disks'>;

const names = ({ disks }: Source): string => disks.map(({ target }) => target).join(', ');

/** F9: why this can't be made of the point, by what the point holds. */
export const refuseSource = (point: Source, wanted: CreationTarget): Fault | null => {
  const { id: pointId, vmName } = point;
  if (wanted.kind === 'image')
    return systemDiskOf(point)
      ? null
      : new Fault(
          'INPUT_INVALID',
          `pointId: an image is made of a system disk, point ${pointId} of VM '${vmName}' holds ${names(point)}`,
          { details: { field: 'pointId', pointId } },
        );
  return point.disks.some(({ target }) => target === wanted.target)
    ? null
    : new Fault('NOT_FOUND', `target: point ${pointId} does not hold disk ${wanted.target}`, {
        details: { field: 'target', pointId },
      });
};
