import { type NetworkType, type PreferredNetwork } from '@casvault/contracts';

interface Switch {
  readonly name: string;
  readonly networkType: string;
  readonly address: string | null;
}

/**
 * R16: the networks in which a host's disk service is looked for, in this order: those that a job prefers, or without a preference that of
 * the platform's registration, then backup and storage. At last the management network, where the platform registers the host.
 */
export const networksFor = (preferred: PreferredNetwork, ofPlatform: NetworkType): NetworkType[] => {
  const wanted: NetworkType[] = preferred === 'auto' ? [ofPlatform, 'backup', 'storage'] : [preferred];
  return [...new Set(wanted.filter((network) => network !== 'management')), 'management'];
};

/** Where to look, in this order: addresses of the host in these networks, and the one that it is registered with in the last. */
export const dataAddresses = (
  registered: string,
  switches: readonly Switch[],
  networks: readonly NetworkType[],
): string[] => {
  const found = networks.flatMap((network) =>
    network === 'management'
      ? [registered]
      : switches
          .filter(({ networkType }) => networkType === network)
          .toSorted((a, b) => (a.name < b.name ? -1 : 1))
          .flatMap(({ address }) => address ?? []),
  );
  return [...new Set(found)];
};

/** Whether a network was asked for that is not the management network, and the address is not in it. */
export const isFallback = (asked: NetworkType, switches: readonly Switch[], address: string): boolean =>
  asked !== 'management' && !switches.some((one) => one.networkType === asked && one.address === address);
