import { newId, type JobId } from '@casvault/contracts';
import fc from 'fast-check';
import {
  codeBytes,
  codeHash,
  codeOf,
  refuseCode,
  requestHash,
  type Confirmation,
} from './confirmation.rules.js';

const now = new Date('2026-03-02T21:00:00Z');
const later = new Date('2026-03-02T21:10:00Z');
const jobId = newId<JobId>();
const issued: Confirmation = { actor: 'anna', requestHash: 'h', expiresAt: later, jobId: null };
const asked = { actor: 'anna', requestHash: 'h' };

describe('F6: a code', () => {
  it('is good for its request and its caller until it expires', () => {
    expect(refuseCode(issued, asked, now)).toBeNull();
    expect(refuseCode(issued, asked, new Date(later.getTime() - 1))).toBeNull();
  });

  it.each([
    ['unknown', 'INPUT_INVALID', null, now],
    ['unknown', 'INPUT_INVALID', { ...issued, actor: 'berta' }, now],
    ['other-request', 'INPUT_INVALID', { ...issued, requestHash: 'x' }, now],
    ['other-request', 'INPUT_INVALID', { ...issued, requestHash: 'x', jobId }, later],
    ['used', 'CONFLICT', { ...issued, jobId }, now],
    ['used', 'CONFLICT', { ...issued, jobId }, later],
    ['expired', 'CONFLICT', issued, later],
  ] as const)('is not good: %s (%s, %#)', (reason, code, found, at) => {
    const fault = refuseCode(found, asked, at);
    expect(fault).toMatchObject({ code, details: { field: 'confirmation', reason } });
    expect(fault?.message).toMatch(/^confirmation: .*\(F6\)$/);
  });

  it('is read whatever the letters and the spaces', () => {
    const code = codeOf(Uint8Array.from({ length: codeBytes }, (_, index) => index * 7));
    expect(code).toMatch(/^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){2}$/);
    expect(codeHash(` ${code.toLowerCase().replaceAll('-', ' ')}`)).toBe(codeHash(code));
    expect(codeHash(code.replace(/.$/, 'z'))).not.toBe(codeHash(code));
  });

  it('differs with every 5 bits that it is made of', () => {
    const bytes = fc.uint8Array({ minLength: codeBytes, maxLength: codeBytes, max: 31 });
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        expect(codeOf(a) === codeOf(b)).toBe(String(a) === String(b));
      }),
    );
  });
});

describe('F6: exactly this request', () => {
  const request = {
    name: 'restore',
    definition: { kind: 'restore', items: [{ pointId: 'p', target: { vmName: 'a', nics: [] } }] },
    plans: [{ type: 'immediate' }],
  };

  it('is the same in any order of its fields, and without those that are not given', () => {
    const { name, definition, plans } = request;
    const turned = { items: definition.items, defaults: undefined, kind: definition.kind };
    expect(requestHash({ plans, definition: turned, name })).toBe(requestHash(request));
  });

  it('is another when anything of it is', () => {
    const hash = requestHash(request);
    const [item] = request.definition.items;
    const others = [
      { ...request, name: 'other' },
      { ...request, plans: [{ type: 'manual' }] },
      { ...request, definition: { ...request.definition, items: [item, item] } },
      { ...request, definition: { ...request.definition, defaults: { powerOn: true } } },
      { ...request, definition: { ...request.definition, items: [{ ...item, target: { vmName: 'a' } }] } },
    ];
    expect(new Set([hash, ...others.map(requestHash)]).size).toBe(others.length + 1);
  });
});
