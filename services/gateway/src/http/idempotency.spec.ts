import { jobIdSchema } from '@casvault/contracts';
import * as fc from 'fast-check';
import { idempotencyKeyOf, keyedId, type RequestIdentity } from './idempotency.js';

const identity: fc.Arbitrary<RequestIdentity> = fc.record({
  userId: fc.uuid(),
  method: fc.constantFrom('POST', 'PUT'),
  path: fc.webPath(),
  key: fc.string({ minLength: 1 }),
});

describe('idempotency keys', () => {
  it('become valid ids, the same for the same request', () => {
    fc.assert(
      fc.property(identity, (request) => {
        const id = keyedId(request);
        expect(jobIdSchema.safeParse(id).success).toBe(true);
        expect(id[14]).toBe('8');
        expect(keyedId({ ...request })).toBe(id);
      }),
    );
  });

  it('become another id when any part of the request differs', () => {
    const base = { userId: 'u', method: 'POST', path: '/a', key: 'bc' };
    const others = [
      { ...base, userId: 'v' },
      { ...base, method: 'PUT' },
      { ...base, path: '/ab', key: 'c' },
      { ...base, key: 'bd' },
    ];
    expect(new Set([base, ...others].map(keyedId)).size).toBe(5);
  });

  it('keep their ids for ever: a client may repeat a request across an upgrade', () => {
    const request = { userId: 'u', method: 'POST', path: '/api/v1/jobs', key: 'k' };
    expect(keyedId(request)).toBe('5a8502d3-856c-8acf-9d25-acb80fda9246');
  });

  it.each([
    ['"a-1"', 'a-1'],
    ['a-1', 'a-1'],
    ['"', '"'],
    [undefined, null],
  ])('are read from %j as %j', (header, key) => {
    expect(idempotencyKeyOf(header)).toBe(key);
  });

  it.each(['', '""', 'a b', 'ä', 'x'.repeat(256)])('are refused: %j', (header) => {
    expect(() => idempotencyKeyOf(header)).toThrow(
      'Idempotency-Key: must be 1 to 255 visible ASCII characters',
    );
  });
});
