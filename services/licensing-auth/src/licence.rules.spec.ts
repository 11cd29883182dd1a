import { expiringForMs, stateOfLicence } from './licence.rules.js';

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
});
