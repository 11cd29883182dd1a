import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { runQuietly, timed, warm } from './command.js';
import { type DiskImage } from './disk-image.js';
import { median } from './figures.js';
import { NbdServer } from './nbd-server.js';

const gib = 2 ** 30;

/** CPU seconds of C code for a GiB of one step of the work, and of the disk the wall time for a GiB. */
export interface Primitives {
  /** nbdcopy from qemu-nbd to nowhere, both processes. */
  readonly nbdRead: number;
  readonly blake3: number;
  readonly zstd: number;
  readonly unzstd: number;
  /** A GiB of compressed data encrypted. */
  readonly aesGcm: number;
  /** nbdcopy from a file in the page cache to a new qcow2 of qemu-nbd, both processes, without the reading of the file. */
  readonly nbdWrite: number;
  readonly directWrite: number;
  readonly directRead: number;
  readonly diskReadWall: number;
  readonly diskWriteWall: number;
  /** Plain bytes for a stored one, of the sample in pieces of 1 MiB. */
  readonly ratio: number;
}

/** Of several measurements the median; of the disk's times the least, as it never gives more than it can. */
export function typical(measured: readonly Primitives[]): Primitives {
  const middle = (field: keyof Primitives): number => median(measured.map((one) => one[field]));
  const least = (field: keyof Primitives): number => Math.min(...measured.map((one) => one[field]));
  return {
    nbdRead: middle('nbdRead'),
    blake3: middle('blake3'),
    zstd: middle('zstd'),
    unzstd: middle('unzstd'),
    aesGcm: middle('aesGcm'),
    nbdWrite: middle('nbdWrite'),
    directWrite: middle('directWrite'),
    directRead: middle('directRead'),
    diskReadWall: least('diskReadWall'),
    diskWriteWall: least('diskWriteWall'),
    ratio: middle('ratio'),
  };
}

/** Measures each on the data of the disk, one after the other. */
export async function measurePrimitives(image: DiskImage, dir: string): Promise<Primitives> {
  const { size } = await stat(image.sample);
  await warm(image.sample);
  const zstd = await zstdOf(image.sample);
  const fileRead = (await cost(dir, `dd 'if=${image.sample}' of=/dev/null bs=1M status=none`, size)).cpu;
  const blake3 = (await cost(dir, `b3sum --num-threads 1 '${image.sample}'`, size)).cpu;
  const written = join(dir, 'written');
  const write = await cost(
    dir,
    `dd if=/dev/zero 'of=${written}' bs=1M count=1024 oflag=direct conv=fdatasync status=none`,
    gib,
  );
  const read = await cost(dir, `dd 'if=${written}' of=/dev/null bs=1M iflag=direct status=none`, gib);
  await rm(written);
  return {
    nbdRead: await nbdRead(image, dir),
    blake3,
    ...zstd,
    aesGcm: await aesGcm(),
    nbdWrite: (await nbdWrite(image.sample, size, dir)) - fileRead,
    directWrite: write.cpu,
    directRead: read.cpu,
    diskReadWall: read.wall,
    diskWriteWall: write.wall,
  };
}

async function cost(dir: string, script: string, bytes: number, servers: readonly number[] = []) {
  const { wallS, cpuS, serverCpuS } = await timed({ script, dir, servers });
  return { cpu: ((cpuS + (serverCpuS ?? 0)) * gib) / bytes, wall: (wallS * gib) / bytes };
}

async function nbdRead(image: DiskImage, dir: string): Promise<number> {
  const server = await NbdServer.source(image.qcow2, join(dir, 'read.sock'));
  try {
    return (await cost(dir, `nbdcopy '${server.uri}' null:`, image.dataBytes, [server.pid])).cpu;
  } finally {
    await server.stop();
  }
}

async function nbdWrite(sample: string, size: number, dir: string): Promise<number> {
  const target = join(dir, 'written.qcow2');
  const server = await NbdServer.target(target, size, join(dir, 'write.sock'));
  try {
    return (await cost(dir, `nbdcopy --flush '${sample}' '${server.uri}'`, size, [server.pid])).cpu;
  } finally {
    await server.stop();
    await rm(target, { force: true });
  }
}

/** zstd's own benchmark on one core, its best: `sample.bin : 268435456 -> 107124321 (x2.506), 494.1 MB/s, 1215.0 MB/s`, refined in place. */
async function zstdOf(sample: string): Promise<Pick<Primitives, 'zstd' | 'unzstd' | 'ratio'>> {
  const printed = await runQuietly('sh', '-c', `zstd -b1 -B1MiB '${sample}' 2>&1`);
  const last = [...printed.matchAll(/x([\d.]+)\), +([\d.]+) MB\/s, +([\d.]+) MB\/s/g)].at(-1);
  if (last === undefined) throw new Error(`zstd -b1 printed ${JSON.stringify(printed)}`);
  const [ratio = NaN, packed = NaN, unpacked = NaN] = last.slice(1).map(Number);
  return { ratio, zstd: gib / (packed * 1e6), unzstd: gib / (unpacked * 1e6) };
}

/** `+F:25:AES-256-GCM:3437096960.00`: bytes a second, by OpenSSL's own benchmark. */
async function aesGcm(): Promise<number> {
  const speed = 'openssl speed -mr -seconds 1 -bytes 1048576 -evp aes-256-gcm 2>/dev/null';
  const printed = await runQuietly('sh', '-c', speed);
  const bytes = Number(/^\+F:\d+:[^:]+:([\d.]+)$/m.exec(printed)?.[1] ?? NaN);
  if (Number.isNaN(bytes)) throw new Error(`openssl speed printed ${JSON.stringify(printed)}`);
  return gib / bytes;
}
