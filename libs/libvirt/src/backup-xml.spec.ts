import fc from 'fast-check';
import {
  backupXml,
  checkpointXml,
  knownCheckpointXml,
  parseBackup,
  parseCheckpoint,
  type BackupPlan,
} from './backup-xml.js';

// XML normalises white space in attributes, and its parser trims: paths with it inside are in, at the ends out.
const path = fc
  .string({ minLength: 1, maxLength: 30 })
  .filter((text) => /^[^\s\p{C}][^\p{C}\t\n\r]*$/u.test(text) && text.trim() === text);
const plan: fc.Arbitrary<BackupPlan> = fc.record({
  address: fc.constantFrom('127.0.0.1', '::1'),
  port: fc.integer({ min: 1, max: 65_535 }),
  tls: fc.constantFrom('off' as const, 'x509' as const),
  disks: fc.uniqueArray(
    fc.record(
      { target: fc.stringMatching(/^vd[a-z]$/), scratchFile: path, incrementalFrom: path },
      { requiredKeys: ['target', 'scratchFile'] },
    ),
    { selector: (disk) => disk.target, minLength: 1 },
  ),
});

describe('a backup description', () => {
  test('is read as it was written, whatever stands in the paths', () => {
    fc.assert(
      fc.property(plan, (given) => {
        expect(parseBackup(backupXml(given))).toEqual(given);
      }),
    );
  });

  test('says for every disk what libvirt must do, and names the export by its target', () => {
    const xml = backupXml({
      address: '10.0.0.1',
      port: 10_000,
      tls: 'x509',
      disks: [
        { target: 'vda', scratchFile: '/s/a', incrementalFrom: "c'1" },
        { target: 'vdb', scratchFile: '/s/b' },
        { target: 'vdc' },
      ],
    });
    expect(xml).toBe(
      "<domainbackup mode='pull'><server transport='tcp' name='10.0.0.1' port='10000' tls='yes'/><disks>" +
        "<disk name='vda' backup='yes' type='file' backupmode='incremental' incremental='c&apos;1' exportname='vda'>" +
        "<driver type='qcow2'/><scratch file='/s/a'/></disk>" +
        "<disk name='vdb' backup='yes' type='file' backupmode='full' exportname='vdb'>" +
        "<driver type='qcow2'/><scratch file='/s/b'/></disk>" +
        "<disk name='vdc' backup='no'/></disks></domainbackup>",
    );
  });

  test('refuses what XML can not carry', () => {
    const disks = [{ target: 'vda', scratchFile: '/s/\u0000' }];
    expect(() => backupXml({ address: '::', port: 1, tls: 'off', disks })).toThrow(
      expect.objectContaining({ code: 'INPUT_INVALID' }) as Error,
    );
  });
});

test('a checkpoint covers the disks that it names', () => {
  const disks = [
    { target: 'vda', checkpoint: true },
    { target: 'vdb', checkpoint: false },
  ];
  const xml = checkpointXml('cp-1', disks, 'made by <x>');
  expect(parseCheckpoint(xml)).toEqual({
    name: 'cp-1',
    parent: null,
    createdAtSeconds: 0,
    description: 'made by <x>',
    targets: ['vda'],
  });
  const printed = `<domaincheckpoint><name>b</name><parent><name>a</name></parent><creationTime>1700000000</creationTime>
    <disks><disk name='vda' checkpoint='bitmap' bitmap='b'/></disks></domaincheckpoint>`;
  expect(parseCheckpoint(printed)).toEqual({
    name: 'b',
    parent: 'a',
    createdAtSeconds: 1_700_000_000,
    description: '',
    targets: ['vda'],
  });
});

test('a checkpoint whose bitmaps are there already is told with the time of its making', () => {
  const known = {
    name: "c'1",
    description: 'of <x>',
    createdAtSeconds: 1_700_000_000,
    targets: ['vda', 'vdb'],
  };
  expect(parseCheckpoint(knownCheckpointXml(known))).toEqual({ ...known, parent: null });
});
