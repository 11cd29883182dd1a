import { randomBytes } from 'node:crypto';
import { sealedSchema } from '@casvault/contracts';
import fc from 'fast-check';
import { createSealer } from './sealer.js';

const newKey = () => randomBytes(32).toString('base64');

describe('a sealer', () => {
  it('opens what it sealed, and never seals twice alike', () => {
    const sealer = createSealer(newKey());
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (plain) => {
        const sealed = sealer.seal(plain);
        expect(sealer.open(sealed)).toBe(plain);
        expect(sealer.seal(plain)).not.toBe(sealed);
        expect(sealedSchema.safeParse(sealed).success).toBe(true);
      }),
    );
  });

  it('refuses what was altered anywhere', () => {
    const sealer = createSealer(newKey());
    const sealed = sealer.seal('a secret of some length');
    for (let at = 0; at < sealed.length; at++) {
      const other = sealed[at] === 'A' ? 'B' : 'A';
      const altered = sealed.slice(0, at) + other + sealed.slice(at + 1);
      // The last character of base64url may hold bits that mean nothing.
      if (
        Buffer.from(altered.split(':')[3] ?? '', 'base64url').equals(
          Buffer.from(sealed.split(':')[3] ?? '', 'base64url'),
        )
      )
        continue;
      expect(() => sealer.open(altered)).toThrow(/sealed|altered/);
    }
    for (const wrong of ['', 'sealed:v1:', 'sealed:v1:00000000:AAAA', 'sealed:v2:x', sealed.slice(0, -4)])
      expect(() => sealer.open(wrong)).toThrow(/sealed|altered/);
  });

  it('refuses another installation’s, and names the key, not the secret', () => {
    const sealed = createSealer(newKey()).seal('a secret');
    expect(() => createSealer(newKey()).open(sealed)).toThrow(/sealed with key [0-9a-f]{8}, which is not/);
  });

  it('opens with older keys and seals with the first', () => {
    const [older, newer] = [newKey(), newKey()];
    const old = createSealer(older).seal('kept');
    const both = createSealer(`${newer},${older}`);
    expect(both.open(old)).toBe('kept');
    expect(createSealer(newer).open(both.seal('fresh'))).toBe('fresh');
    expect(() => createSealer(older).open(both.seal('fresh'))).toThrow(/not this installation/);
  });

  it('wants 32 bytes', () => {
    expect(() => createSealer(randomBytes(31).toString('base64'))).toThrow(/32 bytes/);
  });
});
