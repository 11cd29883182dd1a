import { Fault, type Reserve, type VmFacts } from '@casvault/contracts';

type Facts = Pick<VmFacts, 'vm' | 'storages'>;
type Storage = VmFacts['storages'][number];

const GiB = 1024 ** 3;

/** Whether anything is asked for. */
export const asksForReserve = ({ freePercent, freeGiB }: Reserve): boolean =>
  freePercent !== null || freeGiB !== null;

/** With both asked for, either one that is violated counts. A pool of no capacity tells nothing of percents. */
const isShort = ({ capacityBytes, freeBytes }: Storage, { freePercent, freeGiB }: Reserve): boolean =>
  (freePercent !== null && freeBytes * 100 < capacityBytes * freePercent) ||
  (freeGiB !== null && freeBytes < freeGiB * GiB);

const toldOf = ({ name, capacityBytes, freeBytes }: Storage): string => {
  const percent = capacityBytes > 0 ? `, ${((freeBytes / capacityBytes) * 100).toFixed(1)} %` : '';
  return `data store '${name}' has ${(freeBytes / GiB).toFixed(2)} GiB free${percent}`;
};

const askedOf = ({ freePercent, freeGiB }: Reserve): string =>
  [
    ...(freePercent === null ? [] : [`${freePercent} %`]),
    ...(freeGiB === null ? [] : [`${freeGiB} GiB`]),
  ].join(' and ');

/** Why the VM is not captured now: the first of its data stores that has less free than asked for; null: none. */
export const reserveRefusal = ({ vm, storages }: Facts, reserve: Reserve): Fault | null => {
  const short = storages.find((storage) => isShort(storage, reserve));
  if (!short) return null;
  const { name: storageName, freeBytes, capacityBytes } = short;
  return new Fault(
    'CAPTURE_REFUSED',
    `VM '${vm.name}': ${toldOf(short)}; the job asks for ${askedOf(reserve)}`,
    { details: { storageName, freeBytes, capacityBytes, ...reserve } },
  );
};

/** Whether some disk lies where the platform does not tell what is free. */
export const isReserveUnknown = ({ vm, storages }: Facts, reserve: Reserve): boolean =>
  asksForReserve(reserve) &&
  vm.disks.some(({ storageName }) => !storages.some(({ name }) => name === storageName));
