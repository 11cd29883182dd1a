import { Fault } from '@casvault/contracts';
import { calibrated } from './key-calibration.js';

const coarse = new Fault('CONFLICT', 'qemu-img failed: qemu-img: /vms/a: Unable to get accurate CPU usage');
/** Fails with each of `faults` in turn, then answers how often it was called. */
const failing = (faults: readonly Fault[]) => {
  const calls = { count: 0 };
  const work = async (): Promise<number> => {
    const fault = faults[calls.count];
    calls.count += 1;
    return fault ? Promise.reject(fault) : Promise.resolve(calls.count);
  };
  return { calls, work };
};

describe('work in which QEMU measures its key derivation', () => {
  it('is done again while the clock is too coarse for it', async () => {
    expect(await calibrated(failing([]).work)).toBe(1);
    expect(await calibrated(failing([coarse, coarse, coarse]).work)).toBe(4);
  });

  it('is not done again when it fails for another cause', async () => {
    const full = new Fault('CONFLICT', 'qemu-img failed: No space left on device');
    const { calls, work } = failing([coarse, full]);
    await expect(calibrated(work)).rejects.toBe(full);
    expect(calls.count).toBe(2);
  });

  it('is given up in the end', async () => {
    const { calls, work } = failing(Array.from({ length: 1_000 }, () => coarse));
    await expect(calibrated(work)).rejects.toBe(coarse);
    expect(calls.count).toBe(50);
  });
});
