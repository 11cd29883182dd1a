import { parallelOf } from './parallel.rules.js';

describe('F5: channels of a restore', () => {
  it.each([
    [{ vms: 2, channels: 2 }, 1, { vms: 2, disksPerVm: 1 }],
    [{ vms: 32, channels: 64 }, 1, { vms: 32, disksPerVm: 1 }],
    [{ vms: 32, channels: 64 }, 5, { vms: 12, disksPerVm: 5 }],
    [{ vms: 8, channels: 1 }, 5, { vms: 1, disksPerVm: 1 }],
    [{ vms: 8, channels: 3 }, 2, { vms: 1, disksPerVm: 2 }],
    [{ vms: 1, channels: 64 }, 5, { vms: 1, disksPerVm: 5 }],
  ])('F5: %j with %d disks of a VM at once: %j', ({ vms, channels }, disksPerVm, expected) => {
    const parallel = { vms, vmsPerHost: 10, channels, disksPerVm, streamsPerDisk: 3 };
    const given = parallelOf({ parallel });
    expect(given).toEqual({ ...expected, vmsPerHost: 10, streamsPerDisk: 3 });
    expect(given.vms * given.disksPerVm).toBeLessThanOrEqual(channels);
  });

  it('a backup has none', () => {
    const parallel = { vms: 32, vmsPerHost: 2, disksPerVm: 5, streamsPerDisk: 4 };
    expect(parallelOf({ parallel })).toEqual(parallel);
  });

  it('E8: a verification counts points, wherever their VMs are or were', () => {
    const given = { vms: 3, vmsPerHost: 3, disksPerVm: 1, streamsPerDisk: 1 };
    expect(parallelOf({ parallel: { points: 3 } })).toEqual(given);
  });

  it('E7: a copy counts points, of each chain one', () => {
    const parallel = { points: 3, disksPerVm: 2, streamsPerDisk: 4 };
    const given = { vms: 3, vmsPerHost: 1, disksPerVm: 2, streamsPerDisk: 4 };
    expect(parallelOf({ parallel })).toEqual(given);
  });
});
