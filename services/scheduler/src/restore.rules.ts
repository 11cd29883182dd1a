import {
  Fault,
  restoreTargetSchema,
  type JobDefinition,
  type RestoreTarget,
  type RestoreWish,
  type Vm,
} from '@casvault/contracts';

export type RestoreDefinition = Extract<JobDefinition, { kind: 'restore' }>;

const fieldOf = (index: number, field: string): string =>
  ['definition.items', index, 'target', field].filter((part) => part !== '').join('.');

const refuse = (index: number, name: string, rule: string): Fault => {
  const field = fieldOf(index, name);
  return new Fault('INPUT_INVALID', `${field}: ${rule}`, { details: { field } });
};

type Wishes = Pick<RestoreDefinition, 'defaults' | 'items'>;

/** F3: whether one VM is restored over its original path. */
export const isOriginalPath = ({ defaults, items }: Wishes, index: number): boolean =>
  (items[index]?.target.path ?? defaults?.path) === 'original';

/** F3: where it is, or was, and what else can be said of it: nothing of the place is asked for. */
export const originalWish = (
  { defaults = {}, items }: Wishes,
  index: number,
  place: Pick<RestoreTarget, 'platformId' | 'hostId' | 'storageName' | 'vmName'> | null,
): RestoreWish => {
  const own = items[index]?.target ?? {};
  const [keepMac, powerOn] = [own.keepMac ?? defaults.keepMac, own.powerOn ?? defaults.powerOn];
  return {
    path: 'original',
    ...place,
    ...(keepMac !== undefined && { keepMac }),
    ...(powerOn !== undefined && { powerOn }),
  };
};

/** F4: what is asked for one VM: what its item says, else what holds for all. Its name, unless the item has one, from that of the point's VM. */
export const wishOf = ({ defaults = {}, items }: Wishes, index: number, sourceName: string): RestoreWish => {
  const { vmNamePrefix = '', vmNameSuffix = '', path: _path, keepMac: _keepMac, ...shared } = defaults;
  const vmName = `${vmNamePrefix}${sourceName}${vmNameSuffix}`;
  return { ...shared, vmName, ...items[index]?.target };
};

/** The whole target of one VM, or every field that is missing or breaks a rule. */
export const targetOf = (wish: RestoreWish, index: number): RestoreTarget | Fault[] => {
  const parsed = restoreTargetSchema.safeParse(wish);
  if (parsed.success) return parsed.data;
  return parsed.error.issues.map(({ path, message }) => {
    const isMissing = path.length === 1 && wish[path[0] as keyof RestoreWish] === undefined;
    const rule = isMissing ? 'is required, here or in definition.defaults' : message;
    return refuse(index, path.map(String).join('.'), rule);
  });
};

/** For each target why its name cannot stand beside those before it; null: it can. */
export const namesTwice = (targets: readonly (RestoreTarget | null)[]): (Fault | null)[] => {
  const seen = new Map<string, number>();
  return targets.map((target, index) => {
    if (target === null) return null;
    const key = `${target.platformId} ${target.vmName}`;
    const first = seen.get(key);
    if (first === undefined) seen.set(key, index);
    return first === undefined
      ? null
      : refuse(index, 'vmName', `"${target.vmName}" is the name of item ${first} on the same platform`);
  });
};

/** Where the source VM is, for what the wish leaves open: nothing once the wish leads elsewhere. */
export const proposedPlace = (wish: RestoreWish, source: Vm | null): RestoreWish => {
  if (source === null || (wish.platformId ?? source.platformId) !== source.platformId) return {};
  const { platformId, hostId, disks } = source;
  if ((wish.hostId ?? hostId) !== hostId) return { platformId };
  const disk = disks.find(({ role }) => role === 'system') ?? disks[0];
  const storageName = disk?.storageName ?? null;
  return { platformId, hostId, ...(storageName === null ? {} : { storageName }) };
};

/** VMs that a preview shows: some 2 kB each at most, in one message. */
export const maxShown = 250;

/** Those that are refused come first where not all can be shown; what is shown keeps its order. */
export const shownOf = <T extends { index: number; refusals: readonly unknown[] }>(
  items: readonly T[],
): T[] =>
  items
    .toSorted((a, b) => Number(b.refusals.length > 0) - Number(a.refusals.length > 0) || a.index - b.index)
    .slice(0, maxShown)
    .sort((a, b) => a.index - b.index);

/** A refusal of a target by those who know the point and the platform, with the field of this request. */
export const inTarget = (index: number, fault: Fault): Fault => {
  const told = typeof fault.details['field'] === 'string' ? fault.details['field'] : '';
  const field = fieldOf(index, told);
  const rule =
    told !== '' && fault.message.startsWith(`${told}: `)
      ? fault.message.slice(told.length + 2)
      : fault.message;
  return new Fault(fault.code, `${field}: ${rule}`, { details: { ...fault.details, field } });
};
