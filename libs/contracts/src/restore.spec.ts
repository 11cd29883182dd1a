import { newId, type PointId } from './ids.js';
import { restoreDefinitionSchema } from './job-definition.js';

const told = (defaults: object | undefined, target: object): string[] => {
  const items = [{ pointId: newId<PointId>(), target }];
  const parsed = restoreDefinitionSchema.safeParse({
    kind: 'restore',
    items,
    ...(defaults && { defaults }),
  });
  return parsed.error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`) ?? [];
};

describe('F3: the path of a restore', () => {
  it.each<[string, object | undefined, object]>([
    ['for one VM', undefined, { path: 'original', keepMac: true, powerOn: true }],
    ['for all', { path: 'original', keepMac: true }, {}],
    ['for all but one', { path: 'original', keepMac: true }, { path: 'new', vmName: 'beside' }],
    ['for one VM beside those on a new path', { storageName: 'images', cpuCount: 2 }, { path: 'original' }],
  ])('may be the original one %s', (_, defaults, target) => {
    expect(told(defaults, target)).toEqual([]);
  });

  it.each([
    'platformId',
    'hostId',
    'storageName',
    'vmName',
    'cpuCount',
    'coresPerSocket',
    'memoryMiB',
    'nics',
    'volumes',
    'preallocation',
    'overwrite',
  ])('leaves no choice of %s on the original one', (field) => {
    const values: Record<string, unknown> = {
      platformId: newId(),
      hostId: newId(),
      storageName: 'images',
      vmName: 'db',
      nics: [],
      volumes: [{ target: 'vda', volume: 'lun1' }],
      preallocation: 'thin',
      overwrite: true,
    };
    const value = values[field] ?? 128;
    const rule = `${field}: with path 'original' it follows from the point and its VM (F3)`;
    expect(told(undefined, { path: 'original', [field]: value })).toEqual([`items.0.target.${rule}`]);
    expect(told({ path: 'original' }, { [field]: value })).toEqual([`items.0.target.${rule}`]);
    if (field !== 'vmName' && field !== 'volumes')
      expect(told({ path: 'original', [field]: value }, {})).toEqual([`defaults.${rule}`]);
  });

  it('keeps MAC addresses on the original one alone', () => {
    const rule = "keepMac: only a restore with path 'original' keeps MAC addresses";
    expect(told(undefined, { keepMac: true })).toEqual([`items.0.target.${rule}`]);
    expect(told({ keepMac: true }, {})).toEqual([`defaults.${rule}`]);
    expect(told({ path: 'original' }, { path: 'new', keepMac: true })).toEqual([`items.0.target.${rule}`]);
    expect(told({ keepMac: false }, { keepMac: false })).toEqual([]);
  });

  it('names what it may be', () => {
    expect(told(undefined, { path: 'elsewhere' })).toEqual([
      "items.0.target.path: must be 'original' or 'new'",
    ]);
  });
});
