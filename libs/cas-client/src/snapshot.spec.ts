import { newSnapshotBody, snapshotsOf } from './snapshot.js';

const node = (name: string, snapshots?: unknown) => ({
  name,
  desc: `of ${name}`,
  creationTime: '2026-05-04T12:00:00.123+08:00',
  ...(snapshots === undefined ? {} : { snapshots }),
});

describe('snapshots of a VM', () => {
  it('are the whole tree, whatever shape a single child comes in', () => {
    const tree = { snapshot: node('a', [node('b', node('c')), node('d', '')]) };
    const found = snapshotsOf(tree as Parameters<typeof snapshotsOf>[0]);
    expect(found.map((one) => one.name)).toEqual(['a', 'b', 'c', 'd']);
    expect(found[2]).toEqual({
      name: 'c',
      description: 'of c',
      createdAt: new Date('2026-05-04T04:00:00.123Z'),
    });
  });
  it('none is none; what is not understood is a fault; a time that is none is null', () => {
    expect(snapshotsOf('')).toEqual([]);
    expect(snapshotsOf({ snapshot: [] })).toEqual([]);
    expect(() => snapshotsOf({ error: 'x' })).toThrow('instead of a list of snapshot');
    expect(snapshotsOf({ snapshot: { name: 'a', creationTime: '刚才' } })).toEqual([
      { name: 'a', description: '', createdAt: null },
    ]);
  });
});

describe('a new snapshot', () => {
  it('is of the disks alone, and says its kind', () => {
    const snapshot = { vmExternalId: '7', name: 'n', description: 'd' };
    expect(newSnapshotBody({ ...snapshot, kind: 'internal' }).fields).toMatchObject({
      vmId: '7',
      snapMem: 0,
      snapshotMode: 0,
    });
    expect(newSnapshotBody({ ...snapshot, kind: 'external' }).fields).toMatchObject({ snapshotMode: 1 });
  });
});
