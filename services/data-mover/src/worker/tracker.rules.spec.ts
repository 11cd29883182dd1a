import {
  Fault,
  newId,
  trackingSchema,
  type DiskExport,
  type DiskId,
  type OpeningId,
  type TransferId,
} from '@casvault/contracts';
import { judgeTracker, requireTrackers, sampleSeed, type JudgedTracker } from './tracker.rules.js';

const from = `casvault-${newId()}`;
const made = newId<OpeningId>();
const opening = { openingId: newId<OpeningId>(), checkpoint: `casvault-${newId()}` };
const found: DiskExport = {
  target: 'vda',
  host: '127.0.0.1',
  port: 10_000,
  exportName: 'vda',
  tls: false,
  sizeBytes: 1 << 20,
  format: 'qcow2',
  writable: false,
  bitmapContext: 'qemu:dirty-bitmap:x',
  bitmapReason: null,
  bitmapMadeBy: made,
  checkpointed: true,
  generation: 'image/run',
};
type ParentDisk = NonNullable<Parameters<typeof judgeTracker>[3]>;
const parent = {
  diskId: newId<DiskId>(),
  sizeBytes: 1 << 20,
  lineage: { checkpointName: from, openingId: made, generation: 'image/run' },
} as unknown as ParentDisk;
const judge = (export_: Partial<DiskExport>, before: ParentDisk | null = parent): JudgedTracker =>
  judgeTracker({ incrementalFrom: from }, { ...found, ...export_ }, opening, before);

describe('trackers of a capture', () => {
  it('D2: a bitmap that the parent proves is used, and the new one has a lineage', () => {
    const lineage = {
      checkpointName: opening.checkpoint,
      generation: 'image/run',
      openingId: opening.openingId,
    };
    expect(judge({})).toEqual({ context: 'qemu:dirty-bitmap:x', reasons: [], lineage });
  });

  it.each([
    ['R7: another run of QEMU', { generation: 'image/other' }, 'BITMAP_LINEAGE_UNPROVEN'],
    ['R7: a checkpoint of another opening', { bitmapMadeBy: newId<OpeningId>() }, 'BITMAP_LINEAGE_UNPROVEN'],
    ['R7: a checkpoint of nobody', { bitmapMadeBy: null }, 'BITMAP_LINEAGE_UNPROVEN'],
    ['a bitmap that is gone', { bitmapContext: null }, 'BITMAP_MISSING'],
    [
      'a bitmap not saved cleanly',
      { bitmapContext: null, bitmapReason: 'BITMAP_INCONSISTENT' },
      'BITMAP_INCONSISTENT',
    ],
    [
      'a foreign layer',
      { bitmapContext: null, bitmapReason: 'BITMAP_FOREIGN_LAYER' },
      'BITMAP_FOREIGN_LAYER',
    ],
    ['a resized disk', { sizeBytes: 2 << 20 }, 'DISK_RESIZED'],
  ] as const)('%s: compared in full, with the reason', (_name, change, reason) => {
    expect(judge(change)).toMatchObject({ context: null, reasons: [reason] });
  });

  it('a disk that the parent does not hold is compared in full', () => {
    expect(judge({}, null)).toMatchObject({ context: null, reasons: ['DISK_ADDED'] });
  });

  it('has no lineage where no bitmap begins', () => {
    expect(judge({ checkpointed: false }).lineage).toBeNull();
    const without = judgeTracker({}, found, { ...opening, checkpoint: null }, null);
    expect(without).toEqual({ context: null, reasons: [], lineage: null });
  });

  it('cbt.fallback: skips before the first byte when a bitmap that was asked for is not proven', () => {
    const disks = [{ target: 'vda', incrementalFrom: from }, { target: 'vdb' }] as unknown as Parameters<
      typeof requireTrackers
    >[0]['disks'];
    const vm = { name: 'db' } as Parameters<typeof requireTrackers>[0]['vm'];
    const judged = (vda: JudgedTracker) => new Map([['vda', vda]]);
    const skip = trackingSchema.parse({ withoutBitmap: 'skip' });
    const spec = { vm, disks, tracking: skip };
    const doubted = judged(judge({ bitmapContext: null }));
    expect(() => requireTrackers(spec, judged(judge({})))).not.toThrow();
    expect(() => requireTrackers({ ...spec, tracking: trackingSchema.parse({}) }, doubted)).not.toThrow();
    expect(() => requireTrackers(spec, doubted)).toThrow(
      new Fault('CBT_INVALID', "VM 'db' has no valid CBT: disk vda: BITMAP_MISSING"),
    );
  });

  it('G1: draws the same sample for every attempt at a capture, and another for another', () => {
    const transferId = newId<TransferId>();
    expect(sampleSeed(transferId, made)).toEqual(sampleSeed(transferId, made));
    expect(sampleSeed(transferId, made)).not.toEqual(sampleSeed(transferId, opening.openingId));
  });
});
