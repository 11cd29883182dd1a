import { stateOf } from './backup-host.js';

describe('A4: backup hosts', () => {
  const seen = new Date('2026-01-01T00:00:00Z');
  it.each([
    [0, 'online'],
    [35_000, 'online'],
    [35_001, 'offline'],
    [-5_000, 'online'],
  ])('%d ms after the last report: %s', (ms, state) => {
    expect(stateOf(seen, new Date(seen.getTime() + ms))).toBe(state);
  });
});
