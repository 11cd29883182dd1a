import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { openDigest } from '../src/digest.js';
import { encodeVoidPoint, packKey, pointKey } from '../src/index.js';
import { sampleIds, sampleRepository, type Objects } from '../src/testing/index.js';

/*
 * Makes fixtures/: run as `node dist/test/make-fixtures.js fixtures` in this library's folder. What is there is committed and stays as it is:
 * only new damage is added. Random nonces make the encrypted one differ from run to run.
 */
const [folder] = process.argv.slice(2);
const { chainId, points, writers } = sampleIds;
const pack = (writer: 0 | 1, seq: number): string => packKey(chainId, { writerId: writers[writer], seq });
const point = (index: 0 | 1): string => pointKey(chainId, points[index]);

const flip = (at: number) => (bytes: Buffer) => {
  const spoiled = Buffer.from(bytes);
  spoiled[at < 0 ? bytes.length + at : at]! ^= 0x10;
  return spoiled;
};
const cut = (length: number) => (bytes: Buffer) => bytes.subarray(0, bytes.length - length);
const checksum = openDigest('blake3-256', null);
/** Changes bytes and makes the closing hash right again: only the meaning is wrong. */
const rehash = (change: (body: Buffer) => Buffer) => (bytes: Buffer) => {
  const body = change(bytes.subarray(0, bytes.length - 32));
  return Buffer.concat([body, checksum(body)]);
};
const version2 = (at: number) => (body: Buffer) => {
  const newer = Buffer.from(body);
  newer.writeUInt16LE(2, at);
  return newer;
};

/** Name of the damage -> the object that it changes, and how; null removes it. */
const damage: Record<string, [object: string, change: ((bytes: Buffer) => Buffer) | null]> = {
  'descriptor-flipped-bit': ['repository.json', flip(60)],
  'descriptor-missing': ['repository.json', null],
  'manifest-flipped-bit': [point(1), flip(120)],
  'manifest-truncated': [point(1), cut(40)],
  'manifest-empty': [point(1), cut(1e9)],
  'manifest-unknown-version': [point(1), rehash(version2(8))],
  'pack-missing': [pack(0, 0), null],
  'pack-truncated': [pack(1, 1), cut(1e9)],
  'data-frame-flipped-bit': [pack(0, 0), flip(10)],
  'page-frame-flipped-bit': [pack(1, 1), flip(100)],
  'pack-trailer-flipped-bit': [pack(0, 0), flip(-100)],
  'pack-footer-flipped-bit': [pack(0, 0), flip(-50)],
  'pack-grown': [pack(0, 0), (bytes) => Buffer.concat([bytes, Buffer.alloc(64)])],
};

async function write(name: string, objects: Objects): Promise<void> {
  const root = join(folder!, name);
  await rm(root, { recursive: true, force: true });
  for (const [key, bytes] of objects) {
    await mkdir(dirname(join(root, key)), { recursive: true });
    await writeFile(join(root, key), bytes);
  }
}

const clear = sampleRepository(false);
await write('clear', clear);
await write('encrypted', sampleRepository(true));
for (const [name, [object, change]] of Object.entries(damage)) {
  const spoiled = change === null ? Buffer.from('removed') : change(clear.get(object)!);
  await write(join('damaged', name), new Map([[change === null ? `${object}.removed` : object, spoiled]]));
}
await write('damaged/manifest-of-another-point', new Map([[point(1), clear.get(point(0))!]]));
const swapped = sampleRepository(false, { swapPage: true });
await write(
  'damaged/page-of-another-point',
  new Map([pack(1, 1), point(1)].map((key) => [key, swapped.get(key)!])),
);
await write(
  'damaged/point-void',
  new Map([[point(1), encodeVoidPoint({ ...sampleIds, pointId: points[1] }, checksum)]]),
);
