import { type Reserve } from '@casvault/contracts';
import { asksForReserve, isReserveUnknown, reserveRefusal } from './reserve.rules.js';
import { sampleFacts } from './testing/samples.js';

const GiB = 1024 ** 3;
/** A VM whose only disk lies in `local`. */
const factsOf = (freeGiB: number, capacityGiB = 1_000, name = 'local') => ({
  ...sampleFacts(),
  storages: [{ name, capacityBytes: capacityGiB * GiB, freeBytes: freeGiB * GiB }],
});
const reserveOf = (freePercent: number | null, freeGiB: number | null): Reserve => ({ freePercent, freeGiB });

describe('reserve: what must be free before a VM is captured', () => {
  it.each([
    ['both are met', 600, reserveOf(10, 500), true],
    ['exactly what is asked for', 500, reserveOf(50, 500), true],
    ['too few GiB, percents are met', 499, reserveOf(10, 500), false],
    ['too few percents, GiB are met', 600, reserveOf(61, 500), false],
    ['percents alone', 99, reserveOf(10, null), false],
    ['GiB alone', 1, reserveOf(null, 2), false],
    ['percents are off', 1, reserveOf(null, 0), true],
    ['all of it free', 1_000, reserveOf(100, null), true],
    ['all of it asked for, not all free', 999, reserveOf(100, null), false],
    ['both are off', 0, reserveOf(null, null), true],
  ])('%s', (_what, free, reserve, isMet) => {
    expect(reserveRefusal(factsOf(free), reserve) === null).toBe(isMet);
  });

  it('says which store, how much is free there and what was asked', () => {
    const refusal = reserveRefusal(factsOf(12.5, 500), reserveOf(10, 500));
    expect(refusal?.code).toBe('CAPTURE_REFUSED');
    expect(refusal?.message).toBe(
      "VM 'db': data store 'local' has 12.50 GiB free, 2.5 %; the job asks for 10 % and 500 GiB",
    );
    expect(refusal?.details).toMatchObject({ storageName: 'local', freeBytes: 12.5 * GiB, freePercent: 10 });
  });

  it('of several stores the one that is short', () => {
    const facts = factsOf(600);
    const storages = [...facts.storages, { name: 'fast', capacityBytes: GiB, freeBytes: 0 }];
    expect(reserveRefusal({ ...facts, storages }, reserveOf(10, null))?.details).toMatchObject({
      storageName: 'fast',
    });
  });

  it('a disk of which nobody tells where it lies is told, unless nothing is asked', () => {
    const elsewhere = factsOf(600, 1_000, 'other');
    expect(isReserveUnknown(elsewhere, reserveOf(10, null))).toBe(true);
    expect(isReserveUnknown(elsewhere, reserveOf(null, null))).toBe(false);
    expect(isReserveUnknown(factsOf(600), reserveOf(10, 500))).toBe(false);
    expect(asksForReserve(reserveOf(null, 0))).toBe(true);
  });
});
