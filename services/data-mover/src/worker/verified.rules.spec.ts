import { Fault } from '@casvault/contracts';
import { isOfPoint, verifiedOf } from './verified.rules.js';

const damaged = (key: string, damage = 'bad') =>
  new Fault('POOL_OBJECT_DAMAGED', `${key} is damaged: ${damage}`, { details: { key, damage } });

describe('what a verification tells', () => {
  it('names each object once, and at most 100', () => {
    const faults = [damaged('a', 'first'), damaged('a', 'second'), damaged('b')].map((one) => one.toJSON());
    const { objects } = verifiedOf({ checkedBytes: 1, disks: [], faults });
    expect(objects).toEqual([
      { key: 'a', fault: faults[0] },
      { key: 'b', fault: faults[2] },
    ]);
    const many = Array.from({ length: 150 }, (_, i) => damaged(`k${i}`).toJSON());
    expect(verifiedOf({ checkedBytes: 1, disks: [], faults: many }).objects).toHaveLength(100);
  });

  it('bounds the places of a disk, and counts all its bytes', () => {
    const runs = Array.from({ length: 300 }, (_, i) => ({ offset: i * 10, length: 5 }));
    const disk = { target: 'vda', sizeBytes: 3000, checkedBytes: 1500, damagedBytes: 1500, damaged: runs };
    const [told] = verifiedOf({ checkedBytes: 1500, disks: [disk], faults: [] }).disks;
    expect(told).toEqual({ ...disk, damaged: runs.slice(0, 100) });
  });

  it('says nothing about the point where the repository is not found', () => {
    expect(isOfPoint(damaged('points/c/p-1'), 'p-1')).toBe(true);
    expect(isOfPoint(new Fault('POOL_OBJECT_MISSING', 'x', { details: { key: 'repository' } }), 'p-1')).toBe(
      false,
    );
    const unreachable = new Fault('POOL_UNREACHABLE', 'x', { details: { key: 'points/c/p-1' } });
    expect(isOfPoint(unreachable, 'p-1')).toBe(false);
  });
});
