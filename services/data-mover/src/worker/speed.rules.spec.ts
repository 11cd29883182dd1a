import { speedAt } from './speed.rules.js';

describe('the speed of a transfer', () => {
  const limits = [
    { from: '22:00', to: '06:00', rate: 8, unit: 'MiB/s', appliesTo: 'transfer' },
    { from: '05:59', to: '06:01', rate: 1, unit: 'GiB/s', appliesTo: 'disk' },
  ] as const;

  it.each([
    ['2026-01-01T13:59:59Z', null, null],
    ['2026-01-01T14:00:00Z', 8, null],
    ['2026-01-01T21:59:30Z', 8, 1_024],
    ['2026-01-01T22:00:00Z', null, 1_024],
    ['2026-01-01T22:01:00Z', null, null],
  ])('at %s is %p and %p MiB/s by the clock in Shanghai', (at, transfer, disk) => {
    const mib = (rate: number | null) => (rate === null ? null : rate / 1_048_576);
    const speed = speedAt(limits, 'Asia/Shanghai', new Date(at));
    expect({ transfer: mib(speed.transfer), disk: mib(speed.disk) }).toEqual({ transfer, disk });
  });
});
