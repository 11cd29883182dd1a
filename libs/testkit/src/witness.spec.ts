import { inspectWitness, type DiskBytes } from './witness.js';

const slots = 256;
const slotBytes = 4096;
const headerAt = 1_048_576;
const ringAt = 2_097_152;

function seal(block: Buffer): void {
  let hash = 0xcbf29ce484222325n;
  for (let at = 0; at < slotBytes - 8; at += 8) {
    hash = BigInt.asUintN(64, (hash ^ block.readBigUInt64LE(at)) * 0x100000001b3n);
    hash ^= hash >> 32n;
  }
  block.writeBigUInt64LE(hash, slotBytes - 8);
}

/** A disk as the workload leaves it after writing 1 to `last`. */
class Disk implements DiskBytes {
  readonly bytes = Buffer.alloc(ringAt + slots * slotBytes);

  constructor(last: number) {
    const header = this.bytes.subarray(headerAt, headerAt + slotBytes);
    header.write('CASVLAB1', 'latin1');
    header.writeBigUInt64LE(BigInt(slots), 16);
    header.writeBigUInt64LE(BigInt(slotBytes), 24);
    header.writeBigUInt64LE(BigInt(ringAt), 32);
    seal(header);
    for (let number = Math.max(1, last - slots + 1); number <= last; number++) {
      const slot = this.slot(number);
      slot.writeBigUInt64LE(0x31544f4c53564143n, 0);
      slot.writeBigUInt64LE(BigInt(number), 8);
      seal(slot);
    }
  }

  slot(number: number): Buffer {
    const at = ringAt + (number % slots) * slotBytes;
    return this.bytes.subarray(at, at + slotBytes);
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    return this.bytes.subarray(offset, offset + length);
  }
}

describe('the witness', () => {
  it.each([
    [0, 0],
    [5, 5],
    [6, 5],
    [1000, 1000],
    [1001, 1000],
  ])('A at %d and B at %d are of one instant', async (a, b) => {
    expect(await inspectWitness(new Disk(a), new Disk(b))).toMatchObject({
      oneInstant: true,
      a: { last: a, torn: 0 },
      b: { last: b, torn: 0 },
    });
  });

  it.each([
    [5, 6],
    [7, 5],
    [2000, 1000],
    [1000, 1300],
  ])('A at %d and B at %d are not', async (a, b) => {
    expect(await inspectWitness(new Disk(a), new Disk(b))).toMatchObject({ oneInstant: false });
  });

  it('takes one slot that is being written for what it is', async () => {
    const a = new Disk(600);
    a.slot(601).fill(1, 0, 512);
    const report = await inspectWitness(a, new Disk(600));
    expect(report).toMatchObject({ oneInstant: true, a: { last: 600, torn: 1, whole: 255, unbroken: 255 } });
  });

  it('sees a write that is missing in the middle', async () => {
    const stale = new Disk(600);
    new Disk(500 - slots + 100).slot(500).copy(stale.slot(500));
    const report = await inspectWitness(stale, new Disk(600));
    expect(report.oneInstant).toBe(false);
    expect(report.a.unbroken).toBe(100);
  });

  it('sees two torn slots', async () => {
    const a = new Disk(600);
    a.slot(601).fill(1, 0, 512);
    a.slot(590).fill(1, 0, 512);
    expect((await inspectWitness(a, new Disk(600))).oneInstant).toBe(false);
  });

  it('refuses disks that bear none', async () => {
    const bare: DiskBytes = { read: async (_offset, length) => new Uint8Array(length) };
    await expect(inspectWitness(bare, new Disk(1))).rejects.toThrow('disk A bears no witness');
  });
});
