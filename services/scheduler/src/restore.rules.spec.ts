import {
  Fault,
  newId,
  restoreDefinitionSchema,
  type HostId,
  type PlatformId,
  type PointId,
  type RestoreWish,
  type Vm,
} from '@casvault/contracts';
import {
  inTarget,
  isOriginalPath,
  maxShown,
  namesTwice,
  originalWish,
  proposedPlace,
  shownOf,
  targetOf,
  wishOf,
} from './restore.rules.js';

const platformId = newId<PlatformId>();
const hostId = newId<HostId>();
const place = { platformId, hostId, storageName: 'images' };
const definitionOf = (defaults: object | undefined, ...targets: object[]) =>
  restoreDefinitionSchema.parse({
    kind: 'restore',
    ...(defaults && { defaults }),
    items: targets.map((target) => ({ pointId: newId<PointId>(), target })),
  });
const fieldsOf = (told: unknown): unknown =>
  Array.isArray(told) ? told.map((fault: Fault) => [fault.details['field'], fault.message]) : told;

describe('F4: settings in batch', () => {
  it('hold for every VM that does not say otherwise', () => {
    const defaults = { ...place, cpuCount: 4, coresPerSocket: 2, memoryMiB: 2048, nics: [], powerOn: true };
    const nic = { switchName: 'vswitch1', profileName: null, model: 'e1000' };
    const own = { storageName: 'fast', cpuCount: 1, coresPerSocket: 1, nics: [nic], powerOn: false };
    const definition = definitionOf(
      { ...defaults, preallocation: 'thin' },
      {},
      { ...own, preallocation: 'eager-zeroed' },
    );
    expect(targetOf(wishOf(definition, 0, 'db'), 0)).toEqual({
      ...defaults,
      preallocation: 'thin',
      vmName: 'db',
    });
    expect(targetOf(wishOf(definition, 1, 'web'), 1)).toEqual({
      ...defaults,
      ...own,
      preallocation: 'eager-zeroed',
      vmName: 'web',
    });
  });

  it('name VMs by prefix and suffix, but for those that have a name', () => {
    const definition = definitionOf(
      { ...place, vmNamePrefix: 'pre-', vmNameSuffix: '.1' },
      {},
      { vmName: 'own' },
    );
    expect([0, 1].map((index) => wishOf(definition, index, 'db').vmName)).toEqual(['pre-db.1', 'own']);
  });

  it('leave to the point what nobody says', () => {
    const target = targetOf(wishOf(definitionOf(undefined, place), 0, 'db'), 0);
    expect(target).toEqual({ ...place, vmName: 'db', powerOn: false });
  });

  it('name every field that is required and given nowhere', () => {
    expect(fieldsOf(targetOf(wishOf(definitionOf({ platformId }, {}), 0, 'db'), 3))).toEqual(
      ['hostId', 'storageName'].map((name) => {
        const field = `definition.items.3.target.${name}`;
        return [field, `${field}: is required, here or in definition.defaults`];
      }),
    );
  });

  it('refuse a name that prefix and suffix make too long or wrong', () => {
    const definition = definitionOf({ ...place, vmNamePrefix: '-' }, {});
    expect(fieldsOf(targetOf(wishOf(definition, 0, 'db'), 0))).toEqual([
      ['definition.items.0.target.vmName', expect.stringContaining('not beginning with')],
    ]);
    const long = definitionOf({ ...place, vmNameSuffix: 'x'.repeat(32) }, {});
    expect(fieldsOf(targetOf(wishOf(long, 0, 'y'.repeat(33)), 0))).toHaveLength(1);
    expect(targetOf(wishOf(long, 0, 'y'.repeat(32)), 0)).toMatchObject({ hostId });
  });

  it('refuse one name for two VMs of a platform', () => {
    const of = (vmName: string, platform = platformId) => {
      const target = targetOf({ ...place, platformId: platform, vmName }, 0);
      return Array.isArray(target) ? null : target;
    };
    const elsewhere = newId<PlatformId>();
    const told = namesTwice([of('a'), of('b'), null, of('a', elsewhere), of('a')]);
    expect(told.map((fault) => fault?.details['field'] ?? null)).toEqual([
      null,
      null,
      null,
      null,
      'definition.items.4.target.vmName',
    ]);
    expect(told[4]?.message).toMatch(/"a" is the name of item 0/);
  });
});

describe('F3: the original path', () => {
  const original = { ...place, vmName: 'db' };
  const mixed = definitionOf(
    { path: 'original', keepMac: true, powerOn: true },
    {},
    { path: 'new', ...place },
    { keepMac: false },
  );

  it('is what the item says, else what is said for all, else the new one', () => {
    expect([0, 1, 2].map((index) => isOriginalPath(mixed, index))).toEqual([true, false, true]);
    expect(isOriginalPath(definitionOf(place, {}), 0)).toBe(false);
  });

  it('leads to where the VM is, with what may still be said', () => {
    expect(targetOf(originalWish(mixed, 0, original), 0)).toEqual({
      path: 'original',
      ...original,
      keepMac: true,
      powerOn: true,
    });
    expect(originalWish(mixed, 2, original)).toMatchObject({ keepMac: false, powerOn: true });
    const bare = definitionOf({ cpuCount: 2, vmNamePrefix: 'x-' }, { path: 'original' });
    expect(targetOf(originalWish(bare, 0, original), 0)).toEqual({
      path: 'original',
      ...original,
      powerOn: false,
    });
  });

  it('says nothing to a VM on a new one', () => {
    expect(targetOf(wishOf(mixed, 1, 'db'), 1)).toEqual({
      path: 'new',
      ...place,
      vmName: 'db',
      powerOn: true,
    });
  });
});

describe('F4: what a preview proposes', () => {
  const disk = { role: 'data', storageName: 'slow' } as Vm['disks'][number];
  const source = {
    platformId,
    hostId,
    disks: [disk, { ...disk, role: 'system', storageName: 'images' }],
  } as Vm;
  const elsewhere = newId<HostId>();

  it.each<[string, RestoreWish, Vm | null, RestoreWish]>([
    ['where the source is', {}, source, place],
    ['nothing without a source', {}, null, {}],
    ['nothing on another platform', { platformId: newId<PlatformId>() }, source, {}],
    ['no storage pool of another host', { hostId: elsewhere }, source, { platformId }],
    ['no storage pool that is not known', {}, { ...source, disks: [] }, { platformId, hostId }],
  ])('%s', (_, wish, vm, proposed) => {
    expect(proposedPlace(wish, vm)).toEqual(proposed);
  });
});

describe('F4: what a preview shows of very many', () => {
  it('is every refusal first, in the order of the request', () => {
    const items = Array.from({ length: 400 }, (_, index) => ({ index, refusals: index % 2 ? ['no'] : [] }));
    const shown = shownOf(items);
    expect(shown).toHaveLength(maxShown);
    expect(shown.filter(({ refusals }) => refusals.length > 0)).toHaveLength(200);
    expect(shown.map(({ index }) => index)).toEqual(
      shown.map(({ index }) => index).toSorted((a, b) => a - b),
    );
    expect(shown.filter(({ index }) => index % 2 === 0).at(-1)?.index).toBe(98);
    expect(shownOf(items.slice(0, 3))).toEqual(items.slice(0, 3));
  });
});

describe('refusals of those who know the platform', () => {
  it.each([
    ['cpuCount: 9 is more (S7)', 'cpuCount', 'definition.items.2.target.cpuCount: 9 is more (S7)'],
    ['the host is off', 'hostId', 'definition.items.2.target.hostId: the host is off'],
    ['the host is off', undefined, 'definition.items.2.target: the host is off'],
  ])('%s bears the field of the request', (message, field, told) => {
    const fault = inTarget(
      2,
      new Fault('CONFLICT', message, { details: { ...(field && { field }), more: 1 } }),
    );
    expect(fault).toMatchObject({ code: 'CONFLICT', message: told, details: { more: 1 } });
    expect(told).toMatch(new RegExp(`^${String(fault.details['field'])}: `));
  });
});
