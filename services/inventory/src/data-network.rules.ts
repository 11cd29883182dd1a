import { type NetworkType } from '@casvault/contracts';

interface Switch {
  readonly name: string;
  readonly networkType: string;
  readonly address: string | null;
}

/**
 * R16: where the disk service of a host is looked for, in this order. The last is the address that the platform registers the host with, on
 * its management network; a host without an address in the preferred network has only that one.
 */
export const dataAddresses = (
  registered: string,
  switches: readonly Switch[],
  preferred: NetworkType,
): string[] => {
  if (preferred === 'management') return [registered];
  const onPreferred = switches
    .filter(({ networkType }) => networkType === preferred)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap(({ address }) => address ?? []);
  return [...new Set([...onPreferred, registered])];
};
