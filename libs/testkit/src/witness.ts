import { open, type FileHandle } from 'node:fs/promises';

/**
 * Judges a copy of the two disks that a lab guest's workload writes on (services/cas-lab/guest/workload.c): number n goes
 * to disk A and is flushed, then to disk B, then n + 1 to A. At every instant A's last number is B's, or one more. A pair of
 * copies for which that does not hold was not taken at one instant.
 */
export interface DiskBytes {
  /** Up to `length` bytes from `offset`; fewer at the end of the disk. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

export interface DiskWitness {
  /** The last number that is whole on the disk; 0 when none was ever written. */
  readonly last: number;
  /** Numbers of the ring that are there in one unbroken run down from `last`; less than the ring holds: some were lost. */
  readonly unbroken: number;
  /** Whole slots in all. */
  readonly whole: number;
  /** Slots that were caught half written, or hold foreign bytes. */
  readonly torn: number;
}

export interface WitnessReport {
  readonly a: DiskWitness;
  readonly b: DiskWitness;
  /** Both disks show the same instant: numbers agree, no number before the last is missing, at most one is torn. */
  readonly oneInstant: boolean;
  /** For people: what was found. */
  readonly verdict: string;
}

// Layout of workload.c.
const headerAt = 1_048_576;
const slotBytes = 4096;
const headerMagic = 0x3142414c56534143n;
const slotMagic = 0x31544f4c53564143n;

const mask = 0xffff_ffff_ffff_ffffn;
function checksum(view: DataView): bigint {
  let hash = 0xcbf29ce484222325n;
  for (let at = 0; at < slotBytes - 8; at += 8) {
    hash = ((hash ^ view.getBigUint64(at, true)) * 0x100000001b3n) & mask;
    hash ^= hash >> 32n;
  }
  return hash;
}

const viewOf = (bytes: Uint8Array, at = 0): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset + at, slotBytes);
const isSealed = (view: DataView, magic: bigint): boolean =>
  view.getBigUint64(0, true) === magic && view.getBigUint64(slotBytes - 8, true) === checksum(view);

async function readExactly(disk: DiskBytes, offset: number, length: number): Promise<Uint8Array> {
  const bytes = await disk.read(offset, length);
  if (bytes.length !== length) throw new Error(`the disk ends before ${String(offset + length)}`);
  return bytes;
}

/** Memory: one ring, 1 MiB. Throws when the disk bears no witness. */
async function inspectDisk(disk: DiskBytes, name: string): Promise<DiskWitness> {
  const header = viewOf(await readExactly(disk, headerAt, slotBytes));
  if (!isSealed(header, headerMagic)) throw new Error(`disk ${name} bears no witness: no workload ran on it`);
  const slots = Number(header.getBigUint64(16, true));
  const ringAt = Number(header.getBigUint64(32, true));
  const ring = await readExactly(disk, ringAt, slots * slotBytes);
  const numbers = new Set<number>();
  let torn = 0;
  for (let slot = 0; slot < slots; slot++) {
    const view = viewOf(ring, slot * slotBytes);
    const number = Number(view.getBigUint64(8, true));
    if (isSealed(view, slotMagic) && number % slots === slot) numbers.add(number);
    else if (ring.subarray(slot * slotBytes, (slot + 1) * slotBytes).some((byte) => byte !== 0)) torn++;
  }
  const last = Math.max(0, ...numbers);
  let unbroken = 0;
  while (numbers.has(last - unbroken)) unbroken++;
  return { last, unbroken, whole: numbers.size, torn };
}

/** Every number that the ring can still hold is there: `torn` slots are the ones being written. */
const isWhole = (disk: DiskWitness): boolean => disk.unbroken === disk.whole && disk.torn <= 1;

export async function inspectWitness(diskA: DiskBytes, diskB: DiskBytes): Promise<WitnessReport> {
  const a = await inspectDisk(diskA, 'A');
  const b = await inspectDisk(diskB, 'B');
  const agree = a.last === b.last || a.last === b.last + 1;
  const oneInstant = agree && isWhole(a) && isWhole(b) && a.torn + b.torn <= 1;
  const found = `A ends at ${String(a.last)}, B at ${String(b.last)}`;
  const flaws = [
    ...(agree ? [] : ['the numbers are not of one instant']),
    ...[a, b].flatMap((disk, index) =>
      isWhole(disk) ? [] : [`disk ${'AB'.charAt(index)} lacks or tears slots`],
    ),
  ];
  return {
    a,
    b,
    oneInstant,
    verdict: oneInstant ? `${found}: one instant` : `${found}: ${flaws.join(', ')}`,
  };
}

/** The same for two raw image files. */
export async function inspectWitnessFiles(pathA: string, pathB: string): Promise<WitnessReport> {
  await using a = await open(pathA, 'r');
  await using b = await open(pathB, 'r');
  return await inspectWitness(bytesOf(a), bytesOf(b));
}

const bytesOf = (file: FileHandle): DiskBytes => ({
  read: async (offset, length) => {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset);
    return buffer.subarray(0, bytesRead);
  },
});
