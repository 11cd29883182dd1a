import {
  newId,
  type ChainId,
  type Disk,
  type DiskId,
  type PointId,
  type ReasonCode,
} from '@casvault/contracts';
import { planCapture, type CaptureFacts, type CapturePlan } from './capture.rules.js';
import { type ProtectVm } from './protection.js';
import { sampleFacts } from './testing/samples.js';
import { sweepPartOf, type Parent } from './tracking.rules.js';

const [sample] = sampleFacts().vm.disks;
const disk = (target: string, change: Partial<Disk> = {}): Disk => ({
  ...sample!,
  id: newId<DiskId>(),
  target,
  ...change,
});
const vda = disk('vda');
const vdb = disk('vdb');
const rawDisk = disk('vdc', { format: 'raw', cbtCapable: false });

type Known = Parent['disks'][number];
const known = ({ id: diskId, sizeBytes }: Disk, change: Partial<Known> = {}): Known => ({
  diskId,
  sizeBytes,
  suspect: false,
  ...change,
});
const parentOf = (...disks: Known[]): Parent => ({
  pointId: newId<PointId>(),
  chainId: newId<ChainId>(),
  disks,
  pointCount: 3,
});

interface Case {
  readonly disks?: readonly Disk[];
  readonly parent?: Parent | null;
  readonly facts?: Partial<CaptureFacts>;
  readonly cbt?: Partial<ProtectVm['cbt']>;
}
const plan = ({
  disks = [vda, vdb],
  parent = parentOf(known(vda), known(vdb)),
  facts = {},
  cbt = {},
}: Case) =>
  planCapture(
    { ...sampleFacts({ disks: [...disks] }), ...facts },
    { cbt: { enable: true, fallback: 'full', ...cbt }, powerOff: false },
    parent,
  );

const tracking = (made: CapturePlan) => (made.outcome === 'capture' ? made.tracking : {});
const incremental = { isBegun: true, isIncremental: true, reasons: [] };
const compared = (reason: ReasonCode, isBegun = true) => ({
  isBegun,
  isIncremental: false,
  reasons: [reason],
});
const { capabilities } = sampleFacts();

describe('tracking rules', () => {
  it('D2: reads what the bitmaps since the parent name', () => {
    expect(tracking(plan({}))).toEqual({ vda: incremental, vdb: incremental });
  });

  it('D6: a full begins bitmaps, and asks for none', () => {
    const begun = { isBegun: true, isIncremental: false, reasons: [] };
    expect(tracking(plan({ parent: null }))).toEqual({ vda: begun, vdb: begun });
  });

  it.each([
    ['R5: a disk that cannot have CBT', { disks: [vda, rawDisk] }, 'vdc', compared('CBT_UNSUPPORTED', false)],
    ['D2: an added disk', { parent: parentOf(known(vda)) }, 'vdb', compared('DISK_ADDED')],
    [
      'D2: a resized disk',
      { parent: parentOf(known(vda), known(vdb, { sizeBytes: 1 })) },
      'vdb',
      compared('DISK_RESIZED'),
    ],
    [
      'G1: a disk that its parent may hold wrong',
      { parent: parentOf(known(vda), known(vdb, { suspect: true })) },
      'vdb',
      compared('POINT_SUSPECT'),
    ],
  ] as const)('%s is read in full and compared, the others go on', (_name, given, target, then) => {
    expect(tracking(plan(given))).toEqual({ vda: incremental, [target]: then });
  });

  it('R8: a running VM of a release without incrementals is compared in full', () => {
    const facts = { capabilities: { ...capabilities, liveIncremental: false } };
    const then = compared('INCREMENTAL_UNSUPPORTED', false);
    expect(tracking(plan({ facts }))).toEqual({ vda: then, vdb: then });
  });

  it('R8: stopped, it is incremental', () => {
    const facts = {
      vm: sampleFacts({ disks: [vda, vdb], powerState: 'stopped' }).vm,
      capabilities: { ...capabilities, liveIncremental: false },
    };
    expect(tracking(plan({ facts }))).toEqual({ vda: incremental, vdb: incremental });
  });

  it('R9: external snapshots carry incrementals only where the release has them', () => {
    const external = { ...capabilities, liveExport: false };
    expect(tracking(plan({ facts: { capabilities: external } }))['vda']).toEqual(incremental);
    const old = { ...external, externalIncremental: false };
    expect(tracking(plan({ facts: { capabilities: old } }))['vda']).toEqual(
      compared('INCREMENTAL_UNSUPPORTED', false),
    );
  });

  it('begins no bitmap at the instant of an internal snapshot', () => {
    const internal = { ...capabilities, liveExport: false, externalSnapshot: false };
    expect(tracking(plan({ facts: { capabilities: internal } }))['vda']).toEqual(
      compared('BITMAP_UNAVAILABLE', false),
    );
  });

  it('begins and uses no bitmap where CBT is switched off', () => {
    expect(tracking(plan({ cbt: { enable: false } }))['vda']).toEqual(compared('CBT_DISABLED', false));
  });

  it.each([
    ['a resized disk', { parent: parentOf(known(vda), known(vdb, { sizeBytes: 1 })) }],
    ['no disk that can have CBT', { disks: [rawDisk], parent: parentOf(known(rawDisk)) }],
    ['CBT switched off', { cbt: { enable: false } }],
  ] as const)('R5: with a skip for a fallback, %s skips the VM', (_name, given) => {
    for (const fallback of ['skip-alert', 'skip-silent'] as const) {
      const cbt = { ...('cbt' in given ? given.cbt : {}), fallback };
      const made = plan({ ...given, cbt });
      expect(made).toMatchObject({ outcome: 'skipped', reasons: ['SKIPPED_WITHOUT_CBT'] });
      expect(made.outcome === 'skipped' && made.fault.code).toBe('CBT_INVALID');
    }
  });

  it.each([
    ['the first point', { parent: null }],
    [
      'a raw disk beside a tracked one',
      { disks: [vda, rawDisk], parent: parentOf(known(vda), known(rawDisk)) },
    ],
    ['an added disk beside a tracked one', { parent: parentOf(known(vda)) }],
  ] as const)('%s is no reason to skip', (_name, given) => {
    expect(plan({ ...given, cbt: { fallback: 'skip-alert' } }).outcome).toBe('capture');
  });

  it('G1: sweeps another thirtieth with every point of a chain', () => {
    expect(sweepPartOf(null)).toBeNull();
    const parts = Array.from({ length: 31 }, (_, i) => sweepPartOf({ ...parentOf(), pointCount: i + 1 }));
    expect(new Set(parts.slice(0, 30)).size).toBe(30);
    expect(parts[30]).toBe(parts[0]);
  });
});
