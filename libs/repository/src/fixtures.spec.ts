import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Fault } from '@casvault/contracts';
import { openDigest } from './digest.js';
import { isVoidPoint } from './manifest.js';
import { pointKey } from './layout.js';
import { decodePackEnd } from './pack.js';
import {
  readSample,
  sampleDisks,
  sampleIds,
  sampleKey,
  sampleRepository,
  type Objects,
} from './testing/index.js';

const folder = fileURLToPath(new URL('../../fixtures', import.meta.url));
const checksum = openDigest('blake3-256', null);
const [first, second] = sampleIds.points;

function load(name: string): Objects {
  const root = join(folder, name);
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) =>
    statSync(join(root, file)).isFile(),
  );
  return new Map(files.map((file) => [relative('.', file), readFileSync(join(root, file))]));
}

function withDamage(name: string): Objects {
  const objects = load('clear');
  for (const [key, bytes] of load(`damaged/${name}`)) {
    if (key.endsWith('.removed')) objects.delete(key.slice(0, -'.removed'.length));
    else objects.set(key, bytes);
  }
  return objects;
}

function faultOf(run: () => unknown): Fault | null {
  try {
    run();
    return null;
  } catch (error) {
    return Fault.from(error);
  }
}

it.each([
  ['clear', null],
  ['encrypted', sampleKey],
] as const)('the %s repository is read for ever', (name, key) => {
  const objects = load(name);
  expect(readSample(objects, first, key).equals(sampleDisks()[0])).toBe(true);
  expect(readSample(objects, second, key).equals(sampleDisks()[1])).toBe(true);
});

it('the same repository is still written', () => {
  const made = sampleRepository(false);
  expect([...made.keys()].sort()).toEqual([...load('clear').keys()].sort());
  expect(readSample(made, second, null).equals(sampleDisks()[1])).toBe(true);
});

const writer = (number: 1 | 2) => `packs/${sampleIds.chainId}/${sampleIds.writers[number - 1]}`;
const point = pointKey(sampleIds.chainId, second);

it.each([
  ['descriptor-flipped-bit', 'repository.json'],
  ['descriptor-missing', 'repository.json'],
  ['manifest-flipped-bit', point],
  ['manifest-truncated', point],
  ['manifest-empty', point],
  ['manifest-of-another-point', point],
  ['point-void', point],
  ['pack-missing', `${writer(1)}/00000000`],
  ['pack-truncated', `${writer(2)}/00000001`],
  ['data-frame-flipped-bit', `${writer(1)}/00000000`],
  ['page-frame-flipped-bit', `${writer(2)}/00000001`],
  ['page-of-another-point', `${writer(2)}/00000001`],
])('%s is damage of %s', (name, object) => {
  const fault = faultOf(() => readSample(withDamage(name), second, null));
  expect(fault).toMatchObject({ code: 'POOL_OBJECT_DAMAGED', details: { key: object } });
});

it('manifest-unknown-version needs a newer program', () => {
  const fault = faultOf(() => readSample(withDamage('manifest-unknown-version'), second, null));
  expect(fault).toMatchObject({ code: 'POOL_FORMAT_UNSUPPORTED', details: { key: point } });
});

it.each(['pack-trailer-flipped-bit', 'pack-footer-flipped-bit', 'pack-grown'])(
  '%s is seen by whoever reads the trailer; a restore does not need it',
  (name) => {
    const objects = withDamage(name);
    const object = `${writer(1)}/00000000`;
    const bytes = objects.get(object)!;
    const fault = faultOf(() => decodePackEnd(bytes, bytes.length, checksum, object));
    expect(fault).toMatchObject({ code: 'POOL_OBJECT_DAMAGED', details: { key: object } });
    expect(readSample(objects, second, null).equals(sampleDisks()[1])).toBe(true);
  },
);

it('point-void says so', () => {
  expect(isVoidPoint(withDamage('point-void').get(point)!, checksum, point)).toBe(true);
  expect(isVoidPoint(load('clear').get(point)!, checksum, point)).toBe(false);
});
