import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, readFile, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tempDir, type TempDir } from '@casvault/testkit';
import {
  chainId,
  command,
  mib,
  pointId,
  ProductPool,
  writeContent,
  type SourceDisk,
} from './product-pool.js';

const reader = fileURLToPath(new URL('../../restore.py', import.meta.url));
const systemBytes = 200 * mib;
const oddBytes = 3 * mib + 70_001;
const passphrase = 'correct horse, Batteriestaple';

interface Answer {
  readonly code: number;
  readonly said: string;
  readonly complained: string;
}
const read = (...args: string[]): Promise<Answer> =>
  new Promise((resolve) => {
    const child = execFile('python3', [reader, ...args], (_, said, complained) => {
      resolve({ code: child.exitCode ?? -1, said, complained });
    });
  });
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();
const restore = (pool: string, point: number, target: string, out: string, ...more: string[]) =>
  read('restore', pool, chainId, pointId(point), target, out, ...more);

let dir: TempDir;
let points: SourceDisk[][];
const at = (name: string): string => join(dir.path, name);

beforeAll(async () => {
  dir = await tempDir('offline-reader');
  const raw = at('system.raw');
  await writeContent(raw, 0, 20 * mib, 1, systemBytes);
  await writeContent(raw, 120 * mib, 16 * mib, 2, systemBytes);
  await writeContent(raw, 196 * mib, 4 * mib, 3, systemBytes);
  await command('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, at('system-1.qcow2'));
  await cp(at('system-1.qcow2'), at('system-2.qcow2'));
  const changes = ['write -P 7 5M 300k', 'write -z 121M 1M', 'discard 10M 2M', 'write -P 3 70M 4k'];
  await command('qemu-io', ...changes.flatMap((one) => ['-c', one]), at('system-2.qcow2'));
  await writeContent(at('odd-1.raw'), 2 * mib, oddBytes - 2 * mib, 4, oddBytes);
  await cp(at('odd-1.raw'), at('odd-2.raw'));
  await writeContent(at('odd-2.raw'), oddBytes - 10, 10, 5, oddBytes);
  points = [1, 2].map((number) => [
    { target: 'vda', path: at(`system-${number}.qcow2`), format: 'qcow2' },
    { target: 'vdb', path: at(`odd-${number}.raw`), format: 'raw' },
  ]);
  await writeFile(at('passphrase'), `${passphrase}\n`);
  await writeFile(at('raw-key'), Buffer.alloc(32, 3));
});
afterAll(() => dir.remove());

async function makePool(
  name: string,
  settings: ConstructorParameters<typeof ProductPool>[1],
): Promise<string> {
  const pool = new ProductPool(at(name), settings);
  try {
    await pool.create();
    for (const [i, disks] of points.entries()) await pool.backup(i + 1, disks);
  } finally {
    await pool.close();
  }
  return pool.path;
}

const rawKey = { kind: 'raw', keyId: 'test', key: Buffer.alloc(32, 3) } as const;
describe.each([
  ['blake3', { key: null }, []],
  ['shared', { key: null, hash: 'sha256', dedupScope: 'pool' }, []],
  ['passphrase', { key: { kind: 'passphrase', passphrase } }, ['--key-file', 'passphrase']],
  ['shared-raw-key', { key: rawKey, hash: 'sha256', dedupScope: 'pool' }, ['--key-file', 'raw-key']],
] as const)('a pool: %s', (name, settings, words) => {
  let pool: string;
  let key: string[];
  beforeAll(async () => {
    pool = await makePool(`${name}-pool`, settings);
    key = words.map((word) => (word === '--key-file' ? word : at(word)));
  });

  it('is listed, with the disks of its points', async () => {
    const { code, said, complained } = await read('list', pool, ...key);
    expect([code, complained]).toEqual([0, '']);
    expect(said).toContain(`chain ${chainId} point ${pointId(1)} full 2026-01-02T03:04:01.000Z of web-1`);
    expect(said).toContain(
      `chain ${chainId} point ${pointId(2)} incremental 2026-01-02T03:04:02.000Z of web-1`,
    );
    expect(said).toContain(`disk vda ${systemBytes} bytes`);
    expect(said).toContain(`disk vdb ${oddBytes} bytes`);
  });

  if (words.length > 0) {
    it('is refused without its key, and with a wrong one', async () => {
      await writeFile(at('wrong'), 'another passphrase');
      for (const wrong of [[], ['--key-file', at('wrong')]]) {
        const { code, complained } = await restore(pool, 1, 'vda', at('never.raw'), ...wrong);
        expect([code, complained]).toEqual([
          1,
          expect.stringMatching(/^restore\.py: repository\.json: .*key/),
        ]);
      }
    });
  }

  it('is whole by the hashes over what is stored, without a key', async () => {
    const { code, said, complained } = await read('check', pool);
    expect([code, complained]).toEqual([0, '']);
    expect(said).toMatch(/^2 points, /);
  });

  it.each([1, 2])('gives back the disks of point %d', async (number) => {
    for (const { target, path, format } of points[number - 1]!) {
      const out = at(`${name}-${number}-${target}.raw`);
      expect(await restore(pool, number, target, out, ...key)).toMatchObject({ code: 0, complained: '' });
      expect(await command('qemu-img', 'compare', '-f', format, '-F', 'raw', path, out)).toContain(
        'identical',
      );
      if (format === 'raw') expect((await readFile(out)).equals(await readFile(path))).toBe(true);
      else expect((await stat(out)).blocks * 512).toBeLessThan(42 * mib);
      await rm(out);
    }
  });
});

/** Of the disk of the fixtures, as their README says. */
const fixtureHashes = [
  'f2cc9c72a28dd8df0360248ff8bb5fd52d05669120e05d1bb4c641fd33cf88b4',
  '4cfaebf0c59054d28e355fc8a8fea317b36ffbc8c0466b086cc167e2be2ca5a4',
];
it.each(['clear', 'encrypted'])('the kept pools of the format give back their disk: %s', async (name) => {
  const pool = fileURLToPath(new URL(`../../../../libs/repository/fixtures/${name}`, import.meta.url));
  await writeFile(at('fixture-key'), '11'.repeat(32));
  for (const [i, hash] of fixtureHashes.entries()) {
    const out = at(`fixture-${name}-${i}.raw`);
    const answer = await restore(pool, i + 1, 'vda', out, '--key-file', at('fixture-key'));
    expect(answer).toMatchObject({ code: 0, complained: '' });
    expect(sha256(await readFile(out)).toString('hex')).toBe(hash);
  }
});

describe('a damaged pool', () => {
  let whole: string;
  let pool: string;
  let dataPack: string;
  const manifest = `points/${chainId}/${pointId(2)}`;
  const out = () => at('damaged.raw');

  beforeAll(async () => {
    whole = await makePool('whole-pool', { key: null, hash: 'sha256' });
    const names = (await readdir(whole, { recursive: true })).filter((name) => name.startsWith('packs/'));
    const first = names.filter((name) => name.endsWith('/00000000')).sort()[0];
    dataPack = first ?? '';
  });
  beforeEach(async () => {
    pool = at('damaged');
    await cp(whole, pool, { recursive: true });
  });
  afterEach(async () => {
    await rm(pool, { recursive: true });
    await rm(`${out()}.partial`, { force: true });
  });

  async function change(name: string, edit: (bytes: Buffer) => Uint8Array): Promise<void> {
    await writeFile(join(pool, name), edit(await readFile(join(pool, name))));
  }
  const flip = (position: number) => (bytes: Buffer) => {
    bytes[position < 0 ? bytes.length + position : position]! ^= 4;
    return bytes;
  };
  async function expectRefused(object: string, ...reasons: string[]): Promise<void> {
    const answer = await restore(pool, 2, 'vda', out());
    expect(answer).toMatchObject({ code: 1, said: '' });
    for (const part of [object, ...reasons]) expect(answer.complained).toContain(part);
    expect(existsSync(out())).toBe(false);
  }

  it('a flipped bit in a frame is named by restore and check', async () => {
    await change(dataPack, flip(100_000));
    await expectRefused(dataPack, 'frame');
    expect((await read('check', pool)).complained).toMatch(`${dataPack}: frame`);
  });

  it('a flipped bit in the end of a pack, which no restore reads, is named by check', async () => {
    await change(dataPack, flip(-100));
    expect((await restore(pool, 2, 'vda', out())).code).toBe(0);
    await rm(out());
    const checked = await read('check', pool);
    expect(checked.code).toBe(1);
    expect(checked.complained).toContain(dataPack);
  });

  it('a truncated manifest is named, and the other points are listed', async () => {
    await truncate(join(pool, manifest), 300);
    await expectRefused(manifest, 'hash');
    const listed = await read('list', pool);
    expect(listed.code).toBe(1);
    expect(listed.complained).toContain(manifest);
    expect(listed.said).toContain(pointId(1));
  });

  it('a missing pack is named', async () => {
    await rm(join(pool, dataPack));
    await expectRefused(dataPack, 'missing');
    expect((await read('check', pool)).complained).toContain(`${dataPack}: missing`);
  });

  it('an unknown version is refused where the hashes fit', async () => {
    await change(manifest, (bytes) => {
      bytes[8] = 2;
      return Buffer.concat([bytes.subarray(0, -32), sha256(bytes.subarray(0, -32))]);
    });
    await expectRefused(manifest, 'unknown version');
    await change('repository.json', (bytes) => {
      const [body] = bytes.toString().replace('"version": 1', '"version": 2').split(',\n  "check"');
      return Buffer.from(`${body},\n  "check": "${sha256(Buffer.from(body!)).toString('hex')}"\n}\n`);
    });
    await expectRefused('repository.json', 'version');
  });
});
