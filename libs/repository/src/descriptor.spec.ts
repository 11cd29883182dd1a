import { createHash } from 'node:crypto';
import {
  decodeDescriptor,
  encodeDescriptor,
  unwrapMasterKey,
  wrapMasterKey,
  type Descriptor,
} from './descriptor.js';
import { decodeOrFault, faultCodeOf, spoil } from './testing/index.js';

const repositoryId = '0192f0c0-0000-7000-8000-00000000aaaa';
const masterKey = Buffer.alloc(32, 5);
const scrypt = { N: 2 ** 14, r: 8, p: 1, salt: Buffer.alloc(16, 1) };
const raw = { kind: 'raw', keyId: 'pool-key-1', key: Buffer.alloc(32, 6) } as const;
const passphrase = { kind: 'passphrase', passphrase: '正确的密码' } as const;
const descriptor: Descriptor = {
  format: 'casvault repository',
  version: 1,
  repositoryId,
  blockBytes: 65_536,
  groupBytes: 1_048_576,
  hash: 'blake3-256',
  dedupScope: 'chain',
  encryption: {
    mode: 'aes-256-gcm',
    masterKeys: [
      wrapMasterKey(repositoryId, masterKey, raw, scrypt),
      wrapMasterKey(repositoryId, masterKey, passphrase, scrypt),
    ],
  },
  createdAt: '2026-01-02T03:04:05.000Z',
};

describe('a descriptor', () => {
  const bytes = encodeDescriptor(descriptor);

  it('decodes to what was encoded, and is JSON', () => {
    expect(decodeDescriptor(bytes)).toEqual(descriptor);
    expect(JSON.parse(bytes.toString())).toMatchObject({ repositoryId });
  });

  it('is damaged by any flipped bit', () => {
    for (let i = 0; i < bytes.length; i += 1) {
      const spoiled = spoil(bytes, { kind: 'flip', at: (i + 0.5) / bytes.length, bit: i % 8 });
      expect(decodeOrFault(() => decodeDescriptor(spoiled), 'repository.json')).toBeNull();
    }
  });

  it.each([
    ['version', { version: 2 }],
    ['block size', { blockBytes: 4096 }],
    ['hash', { hash: 'md5' }],
    ['encryption', { encryption: { mode: 'rot13' } }],
  ])('of an unknown %s is refused', (_, change) => {
    const text = JSON.stringify({ ...descriptor, ...change }, null, 2).slice(0, -2);
    // The check is right: only the meaning is unknown.
    const check = decodeCheck(text);
    expect(faultCodeOf(() => decodeDescriptor(Buffer.from(`${text},\n  "check": "${check}"\n}\n`)))).toBe(
      'POOL_FORMAT_UNSUPPORTED',
    );
  });
});

const decodeCheck = (text: string): string => createHash('sha256').update(text).digest('hex');

describe('the master key', () => {
  it('is opened by each of its keys', () => {
    expect(unwrapMasterKey(descriptor, raw)).toEqual(masterKey);
    expect(unwrapMasterKey(descriptor, passphrase)).toEqual(masterKey);
  });

  it.each([
    ['no key', null],
    ['a wrong passphrase', { kind: 'passphrase', passphrase: 'x' } as const],
    ['other bytes under the same id', { ...raw, key: Buffer.alloc(32, 7) }],
    ['another key id', { ...raw, keyId: 'pool-key-2' }],
  ])('is refused to %s', (_, key) => {
    expect(faultCodeOf(() => unwrapMasterKey(descriptor, key))).toBe('POOL_KEY_WRONG');
  });

  it('does not open for another repository', () => {
    const other = { ...descriptor, repositoryId: '0192f0c0-0000-7000-8000-00000000bbbb' };
    expect(faultCodeOf(() => unwrapMasterKey(other, raw))).toBe('POOL_KEY_WRONG');
  });
});
