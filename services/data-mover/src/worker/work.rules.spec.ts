import { Fault, faultCodes, type FaultCode, type OpeningId } from '@casvault/contracts';
import fc from 'fast-check';
import { parallelismOf } from './parallelism.rules.js';
import { remedyFor, remedyWhileOpen } from './remedy.rules.js';
import { openSizeOf } from './restore-transfer.js';
import { volumeOpeningId } from './target-volumes.js';

const mib = 1 << 20;

describe('remedies', () => {
  it('tries again only what may pass, or what its disk service knows more about', () => {
    for (const code of Object.keys(faultCodes) as FaultCode[]) {
      const fault = new Fault(code, 'x');
      if (fault.kind === 'unavailable') continue;
      expect({ code, remedy: remedyFor(fault) }).toEqual({
        code,
        remedy: code === 'NBD_REFUSED' ? 'look' : 'fail',
      });
    }
    expect(remedyFor(new Fault('CAPTURE_LOST', 'x'))).toBe('recapture');
    expect(remedyFor(new Fault('POOL_UNREACHABLE', 'x'))).toBe('wait');
  });

  it('takes a refusal by a standing opening as final', () => {
    expect(remedyWhileOpen(new Fault('NBD_REFUSED', 'x'))).toBe('fail');
    expect(remedyWhileOpen(new Fault('NBD_DISCONNECTED', 'x'))).toBe('wait');
  });
});

describe('parallelism', () => {
  const setting = fc.integer({ min: 1, max: 5 });
  it('keeps to both settings, and never more connections than the larger of them', () => {
    fc.assert(
      fc.property(setting, setting, fc.integer({ min: 1, max: 64 }), (disksPerVm, streams, disks) => {
        const found = parallelismOf({ disksPerVm, streamsPerDisk: streams }, disks);
        expect(found.disksInParallel).toBe(Math.min(disksPerVm, disks));
        expect(found.streamsPerDisk).toBeGreaterThanOrEqual(1);
        expect(found.streamsPerDisk).toBeLessThanOrEqual(streams);
        expect(found.disksInParallel * found.streamsPerDisk).toBeLessThanOrEqual(
          Math.max(disksPerVm, streams),
        );
      }),
    );
  });
  it('gives one disk all its streams', () => {
    const one = { disksInParallel: 1, streamsPerDisk: 5 };
    expect(parallelismOf({ disksPerVm: 1, streamsPerDisk: 5 }, 3)).toEqual(one);
    expect(parallelismOf({ disksPerVm: 5, streamsPerDisk: 5 }, 1)).toEqual(one);
  });
});

describe('volumes', () => {
  const disk = (sizeBytes: number) => ({ target: 'vda', path: '/v', format: 'qcow2' as const, sizeBytes });
  it('get the exact size of the disk where the platform rounded it', () => {
    expect(openSizeOf(disk(25 * mib), 24 * mib + 512)).toEqual({ sizeBytes: 24 * mib + 512, resize: true });
    expect(openSizeOf(disk(24 * mib), 24 * mib + 512)).toEqual({ sizeBytes: 24 * mib + 512, resize: true });
  });
  it('may be larger by more, and not smaller', () => {
    expect(openSizeOf(disk(26 * mib), 24 * mib)).toEqual({ sizeBytes: 26 * mib });
    expect(() => openSizeOf(disk(23 * mib), 24 * mib)).toThrow(/vda has 24117248 bytes, the disk 25165824/);
  });
  it('have an id of their own under each claim, the same after a crash', () => {
    const one = '01a20147-71a9-72c7-962d-e2ada290b423' as OpeningId;
    const other = '01a20147-71a9-72c7-962d-e2ada290b424' as OpeningId;
    expect(volumeOpeningId(one, 'vda')).toBe(volumeOpeningId(one, 'vda'));
    expect(
      new Set([one, other].flatMap((id) => ['vda', 'vdb'].map((at) => volumeOpeningId(id, at)))).size,
    ).toBe(4);
  });
});
