import { daysLeftOf, expiringForMs, stateOfLicence } from './licence.rules.js';

describe('B1: a licence', () => {
  const expiresAt = '2026-06-30T00:00:00.000Z';
  const at = (beforeMs: number) => stateOfLicence({ expiresAt }, new Date(Date.parse(expiresAt) - beforeMs));

  it.each([
    [expiringForMs + 1, 'valid'],
    [expiringForMs, 'expiring'],
    [1, 'expiring'],
    [0, 'expired'],
    [-1, 'expired'],
  ])('%d ms before its end is %s', (beforeMs, state) => {
    expect(at(beforeMs)).toBe(state);
  });

  it('without an end stays valid', () => {
    expect(stateOfLicence({ expiresAt: null }, new Date('2999-01-01'))).toBe('valid');
  });

  it.each([
    ['expiring', expiresAt, 1.5],
    ['valid', null, Infinity],
    ['expired', '2026-06-01T00:00:00.000Z', 0],
    ['untrusted', expiresAt, 0],
    ['untrusted', null, 0],
  ] as const)('%s until %s allows what it names for %d days more', (state, end, days) => {
    expect(daysLeftOf({ state, expiresAt: end }, new Date('2026-06-28T12:00:00.000Z'))).toBe(days);
  });
});
