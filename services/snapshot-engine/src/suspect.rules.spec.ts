import { newId, type DiskId, type PointId } from '@casvault/contracts';
import { markSuspects, suspectCopy, type LinePoint } from './suspect.rules.js';
import { sampleSource } from './testing/samples.js';

const [disk] = sampleSource().point.disks;
const a = newId<DiskId>();
const b = newId<DiskId>();
/** A point that read these disks by their bitmaps, and the others in full. */
const point = (tracked: readonly DiskId[], held: readonly DiskId[] = [a, b]): LinePoint => ({
  id: newId<PointId>(),
  reasons: ['CAPTURE_LIVE'],
  disks: held.map((diskId) => ({ ...disk!, diskId, tracked: tracked.includes(diskId) })),
});
const marked = (line: readonly LinePoint[], wrong: readonly DiskId[]) =>
  markSuspects(line, wrong).map(({ id, disks }) => [
    line.findIndex((one) => one.id === id),
    disks.filter(({ suspect }) => suspect).map(({ diskId }) => diskId),
  ]);

describe('suspect points', () => {
  it('G1: marks the disk back to the last point that read it in full, which is right', () => {
    const line = [point([a, b]), point([a]), point([]), point([a])];
    expect(marked(line, [a])).toEqual([
      [0, [a]],
      [1, [a]],
    ]);
    expect(marked(line, [a, b])).toEqual([
      [0, [a, b]],
      [1, [a]],
    ]);
  });

  it('G1: says so among the reasons, once', () => {
    const [first] = markSuspects([point([a])], [a]);
    expect(first?.reasons).toEqual(['CAPTURE_LIVE', 'POINT_SUSPECT']);
    expect(markSuspects([first!], [a])[0]?.reasons).toEqual(['CAPTURE_LIVE', 'POINT_SUSPECT']);
  });

  it('marks nothing where the last point read it in full, or did not hold it', () => {
    expect(marked([point([b])], [a])).toEqual([]);
    expect(marked([point([b], [b]), point([a])], [a])).toEqual([]);
    expect(marked([], [a])).toEqual([]);
  });

  it('G1, E7: marks the same disks of a copy, and no others', () => {
    const [suspect] = markSuspects([point([a, b])], [a]);
    const copy = suspectCopy(point([a, b]), suspect!);
    expect(copy.disks.filter((one) => one.suspect).map(({ diskId }) => diskId)).toEqual([a]);
    expect(copy.id).not.toBe(suspect!.id);
    expect(suspectCopy(copy, suspect!).reasons).toEqual(['CAPTURE_LIVE', 'POINT_SUSPECT']);
  });
});
