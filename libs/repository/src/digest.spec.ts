import { openDigest } from './digest.js';

// BLAKE3: the vectors of the reference implementation (input byte i is i % 251); SHA-256: FIPS 180-4; HMAC: RFC 4231 case 2 has a short key.
const input = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, i) => i % 251));
const key = Buffer.from('whats the Elvish word for friend', 'latin1');

it.each([
  ['blake3-256', null, Buffer.alloc(0), 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262'],
  ['blake3-256', null, input(1025), 'd00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444'],
  ['blake3-256', key, input(1), '6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b'],
  ['sha256', null, Buffer.from('abc'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
] as const)('%s', (name, keyed, bytes, expected) => {
  const digest = openDigest(name, keyed);
  expect(digest(bytes).toString('hex')).toBe(expected);
  digest(Buffer.alloc(100));
  expect(digest(bytes).toString('hex')).toBe(expected);
});
