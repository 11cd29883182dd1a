import { type DiskId, type Point, type PointId, type ReasonCode } from '@casvault/contracts';

export type LinePoint = Pick<Point, 'id' | 'disks' | 'reasons'>;

const suspectReason: ReasonCode = 'POINT_SUSPECT';

/** E7: what a copy becomes when the point that it was made of is marked. */
export const suspectCopy = (copy: LinePoint, suspect: LinePoint): LinePoint => {
  const wrong = new Set(suspect.disks.filter((disk) => disk.suspect).map(({ diskId }) => diskId));
  const disks = copy.disks.map((disk) => (wrong.has(disk.diskId) ? { ...disk, suspect: true } : disk));
  return { id: copy.id, disks, reasons: [...new Set([...copy.reasons, suspectReason])] };
};

/**
 * G1: a tracker was found wrong, so the points before may hold a disk wrong, back to the last one that read it in full. `line` is
 * the points that the new one stands on, nearest first. Returns those that change, as they then are.
 */
export const markSuspects = (line: readonly LinePoint[], wrong: readonly DiskId[]): LinePoint[] => {
  const suspects = new Map<PointId, Set<DiskId>>();
  for (const diskId of wrong) {
    for (const { id, disks } of line) {
      const disk = disks.find((one) => one.diskId === diskId);
      if (!disk?.tracked) break;
      suspects.set(id, (suspects.get(id) ?? new Set()).add(diskId));
    }
  }
  return line.flatMap((point) => {
    const marked = suspects.get(point.id);
    if (!marked) return [];
    const disks = point.disks.map((disk) => (marked.has(disk.diskId) ? { ...disk, suspect: true } : disk));
    return [{ id: point.id, disks, reasons: [...new Set([...point.reasons, suspectReason])] }];
  });
};
