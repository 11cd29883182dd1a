import { createDecipheriv } from 'node:crypto';
import { SEAL_BYTES } from './layout.js';
import { seal, unseal } from './suite.js';

const key = Buffer.alloc(32, 1);
const aad = Buffer.from('what it belongs to');
const plainOf = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, i) => (i * 31) & 0xff));
const lengths = [0, 1, 65_535, 65_536, 65_537, 200_000];

describe('sealing', () => {
  it.each(lengths)('is plain AES-256-GCM in one piece, whatever its length (%i)', (length) => {
    const plain = plainOf(length);
    const sealed = seal(key, aad, plain);
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12));
    decipher.setAAD(aad);
    decipher.setAuthTag(sealed.subarray(-16));
    const opened = Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]);
    expect(opened.equals(plain)).toBe(true);
  });

  it.each(lengths)('comes back, in memory of the caller or new (%i)', (length) => {
    const plain = plainOf(length);
    const into = Buffer.alloc(length + SEAL_BYTES + 10, 0xee);
    const sealed = seal(key, aad, plain, into);
    expect([sealed.buffer, sealed.byteOffset, sealed.length]).toEqual([
      into.buffer,
      into.byteOffset,
      length + SEAL_BYTES,
    ]);
    expect(into.subarray(-10).every((byte) => byte === 0xee)).toBe(true);
    expect(unseal(key, aad, sealed)?.equals(plain)).toBe(true);
    const room = Buffer.alloc(length + 5, 0xdd);
    expect(unseal(key, aad, sealed, room)?.equals(plain)).toBe(true);
    expect(room.subarray(0, length).equals(plain)).toBe(true);
    expect(room.subarray(length).every((byte) => byte === 0xdd)).toBe(true);
  });

  it('opens with nothing but its key, its association and its bytes', () => {
    const sealed = seal(key, aad, plainOf(70_000));
    const spoilt = Buffer.from(sealed);
    spoilt[68_000]! ^= 1;
    expect(unseal(Buffer.alloc(32, 2), aad, sealed)).toBeNull();
    expect(unseal(key, Buffer.from('another'), sealed)).toBeNull();
    expect(unseal(key, aad, spoilt)).toBeNull();
    expect(unseal(key, aad, sealed.subarray(0, 27))).toBeNull();
  });
});
