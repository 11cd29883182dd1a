import { Fault, newId, type PlatformId } from '@casvault/contracts';
import {
  halfMade,
  keepsRoom,
  outlineOf,
  planRestoreImage,
  planRestoreVm,
  refuseOriginalPath,
  refuseUnrestorable,
} from './restore.rules.js';
import { sampleImage, sampleRestoreVm, sampleSource, sampleVolume } from './testing/samples.js';

const source = sampleSource();
const request = sampleRestoreVm(source.point.id);
const nic = { mac: '0c:da:41:1d:00:02', switchName: null, profileName: null, model: 'e1000' };

describe('restore rules', () => {
  it('takes what is not asked otherwise from the point', () => {
    expect(planRestoreVm(request, source)).toMatchObject({
      restoreId: request.itemId,
      vmName: 'db-restored',
      cpuCount: 2,
      memoryMiB: 512,
      disks: [{ target: 'vda', sizeBytes: 1 << 30, format: 'qcow2', bus: 'virtio' }],
      nics: [{ switchName: 'vswitch0', profileName: null, model: 'virtio' }],
    });
  });

  it('takes CPU, memory and networks as asked; an empty list leaves the VM without', () => {
    const target = { ...request.target, cpuCount: 8, memoryMiB: 4096, nics: [] };
    expect(planRestoreVm({ ...request, target }, source)).toMatchObject({
      cpuCount: 8,
      memoryMiB: 4096,
      nics: [],
    });
  });

  it('F4: takes cores a socket and preallocation as asked, and tells of both beforehand', () => {
    const target = { ...request.target, coresPerSocket: 2, preallocation: 'lazy-zeroed' } as const;
    const { restoreId: _, ...planned } = planRestoreVm({ ...request, target }, source);
    expect(outlineOf(planned)).toEqual({
      cpuCount: 2,
      coresPerSocket: 2,
      memoryMiB: 512,
      nics: [{ switchName: 'vswitch0', profileName: null, model: 'virtio' }],
      preallocation: 'lazy-zeroed',
      disks: [{ target: 'vda', sizeBytes: 1 << 30, format: 'qcow2', bus: 'virtio' }],
    });
    expect(planRestoreVm(request, source)).toMatchObject({ coresPerSocket: 1, preallocation: 'thin' });
    expect([keepsRoom(request), keepsRoom({ target })]).toEqual([false, true]);
  });

  it('S8: overwrites only where it is asked to', () => {
    expect(planRestoreVm(request, source).overwrite).toBe(false);
    const target = { ...request.target, overwrite: true };
    expect(planRestoreVm({ ...request, target }, source).overwrite).toBe(true);
  });

  it('S6: an empty list leaves the networks disconnected; the VM of the point is told of', () => {
    const planned = planRestoreVm({ ...request, target: { ...request.target, nics: [] } }, source);
    expect(planned).toMatchObject({ nics: [], sourceVmId: source.point.vmId });
  });

  it('S3: hands the named volumes over', () => {
    const volumes = [{ target: 'vda', volume: 'lun1', override: false }];
    expect(planRestoreVm({ ...request, target: { ...request.target, volumes } }, source)).toMatchObject({
      volumes,
    });
    expect(planRestoreVm(request, source).volumes).toEqual([]);
  });

  it('drops a card that hangs on no switch, and names an unknown bus so', () => {
    const odd = {
      ...source,
      hardware: { ...source.hardware, nics: [nic] },
      point: { ...source.point, disks: source.point.disks.map((disk) => ({ ...disk, bus: 'nvme' })) },
    };
    expect(planRestoreVm(request, odd)).toMatchObject({ nics: [], disks: [{ bus: 'unknown' }] });
  });

  it.each(['pending', 'transferring', 'failed', 'deleting'] as const)(
    'refuses a point that is %s',
    (state) => {
      expect(refuseUnrestorable({ ...source.point, state })?.message).toContain(state);
      expect(refuseUnrestorable(source.point)).toBeNull();
    },
  );
});

describe('F3: the original path', () => {
  const card = { mac: '0c:da:41:1d:00:02', switchName: 'vswitch0', profileName: 'Default', model: 'e1000' };
  const loose = { ...card, mac: '0c:da:41:1d:00:03', switchName: null };
  const original = {
    ...source,
    hardware: { ...source.hardware, cpuCount: 4, nics: [card, loose] },
    configuration: { cpu: { cpuSockets: 2, cpuCores: '2' } },
    point: { ...source.point, excludedDisks: [{ target: 'vdb', reason: 'DISK_NOT_CHOSEN' }] },
  };
  const asked = (fields: object = {}) => ({
    ...request,
    target: { ...request.target, platformId: source.point.platformId, path: 'original' as const, ...fields },
  });

  it('F3: has the hardware of the point, new volumes, and says which disks the point lacks', () => {
    const { platformId, hostId, storageName, vmName } = asked().target;
    expect(planRestoreVm(asked(), original)).toEqual({
      ...{ restoreId: request.itemId, platformId, hostId, storageName, vmName },
      cpuCount: 4,
      coresPerSocket: 2,
      memoryMiB: 512,
      nics: [{ switchName: 'vswitch0', profileName: 'Default', model: 'e1000' }],
      configuration: original.configuration,
      disks: [{ target: 'vda', sizeBytes: 1 << 30, format: 'qcow2', bus: 'virtio' }],
      preallocation: 'thin',
      volumes: [],
      overwrite: false,
      becomesImage: false,
      sourceVmId: source.point.vmId,
      original: { leftOut: ['vdb'] },
    });
  });

  it('keepMac: asks for the addresses of the point, and the preview shows them', () => {
    const { restoreId: _, ...planned } = planRestoreVm(asked({ keepMac: true }), original);
    expect(planned.nics).toEqual([{ ...card, switchName: 'vswitch0' }]);
    expect(outlineOf(planned).nics[0]?.mac).toBe(card.mac);
    const plain = { ...request, target: { ...request.target, keepMac: true } };
    expect(planRestoreVm(plain, original).nics[0]).not.toHaveProperty('mac');
  });

  it.each([['0'], ['3'], ['x'], [undefined]])(
    'takes one core a socket where the point says %s',
    (cpuCores) => {
      const odd = { ...original, configuration: { cpu: { cpuCores } } };
      expect(planRestoreVm(asked(), odd).coresPerSocket).toBe(1);
    },
  );

  it('S1: is refused when the VM had no network policy template', () => {
    for (const nics of [[], [{ ...card, profileName: null }]]) {
      const bare = { ...original, hardware: { ...original.hardware, nics } };
      const fault = refuseOriginalPath(asked(), bare);
      expect(fault?.toJSON()).toMatchObject({ code: 'INPUT_INVALID', details: { field: 'path' } });
      expect(fault?.message).toMatch(/no network policy template.*\(S1\)/);
      expect(refuseOriginalPath(request, bare)).toBeNull();
    }
    expect(refuseOriginalPath(asked(), original)).toBeNull();
  });

  it('is on the platform of the point', () => {
    const fault = refuseOriginalPath(asked({ platformId: newId<PlatformId>() }), original);
    expect(fault?.message).toMatch(/of another platform/);
  });

  it('says what is left of it when it could not be removed', () => {
    expect(halfMade(asked())).toMatchObject({ field: 'leftVm', name: request.target.vmName });
    expect(halfMade(asked()).what).toMatch(/carries the disks/);
  });
});

describe('F9: an image', () => {
  const image = sampleImage(source.point.id);
  const [system] = source.point.disks;
  if (system === undefined) throw new Error('the sample has no disk');
  const data = { ...system, target: 'vdb', role: 'data' as const };
  const holding = (...disks: (typeof system)[]) => ({ ...source, point: { ...source.point, disks } });
  const planned = (from: typeof source, target: Partial<typeof image.target> = {}) =>
    planRestoreImage({ itemId: image.itemId, target: { ...image.target, ...target } }, from);

  it('has the system disk alone, and the hardware of the point', () => {
    expect(planned(holding(data, system))).toEqual({
      restoreId: image.itemId,
      platformId: image.target.platformId,
      hostId: image.target.hostId,
      storageName: 'local',
      vmName: 'golden',
      cpuCount: 2,
      coresPerSocket: 1,
      memoryMiB: 512,
      preallocation: 'thin',
      disks: [{ target: 'vda', sizeBytes: 1 << 30, format: 'qcow2', bus: 'virtio' }],
      volumes: [],
      overwrite: false,
      becomesImage: true,
      nics: [{ switchName: 'vswitch0', profileName: null, model: 'virtio' }],
      configuration: source.configuration,
    });
  });

  it('takes CPU, memory and networks as asked', () => {
    expect(planned(source, { cpuCount: 8, memoryMiB: 4096, nics: [] })).toMatchObject({
      cpuCount: 8,
      memoryMiB: 4096,
      nics: [],
    });
  });

  it.each([
    ['a data disk alone', holding(data)],
    ['no disk', holding()],
  ])('is refused by the field and the rule when the point holds %s', (_, from) => {
    const refused = planned(from);
    expect(Fault.is(refused) && [refused.code, refused.details['field']]).toEqual([
      'INPUT_INVALID',
      'pointId',
    ]);
    expect(Fault.is(refused) && refused.message).toContain(source.point.id);
  });

  it.each([
    [request, 'leftVm', 'db-restored'],
    [image, 'leftImage', 'golden'],
    [sampleVolume(source.point.id), 'leftVolume', /^data-[0-9a-f]{16}$/],
  ])('what is half made is told by its field and name: %#', (asked, field, name) => {
    const told = halfMade(asked);
    expect(told.field).toBe(field);
    expect(told.name).toMatch(name);
  });
});
