import { DiskServiceClient } from '@casvault/block-source';
import { type DiskServiceHealth, Fault, type HostId, type Logger } from '@casvault/contracts';
import { dataAddresses } from './data-network.rules.js';
import { type NetworkStore } from './network-store.js';
import { diskServiceUrl, type RegisteredPlatform } from './platform.js';

/** A health question is quick, or the host is taken not to answer. */
const healthMs = 5_000;

/** The only place where the token of a platform's disk services is opened. */
export class DiskServices {
  /** `open`: the plain text goes into the client and nowhere else. */
  constructor(
    private readonly open: (sealed: string) => string,
    private readonly networks: Pick<NetworkStore, 'switchesOf'>,
    private readonly logger: Logger,
  ) {}

  /**
   * R16: where data are read and written on a host: in the preferred network if it answers there, else by its registered address, with a line
   * in the log. `health` is null when it answers nowhere.
   */
  async dataPlace(
    platform: Pick<RegisteredPlatform, 'diskService'>,
    host: { readonly id: HostId; readonly name: string; readonly ip: string },
    signal: AbortSignal,
  ): Promise<{ url: string; health: DiskServiceHealth | null }> {
    const { network, port } = platform.diskService;
    const switches = network === 'management' ? [] : await this.networks.switchesOf(host.id);
    const addresses = dataAddresses(host.ip, switches, network);
    const told = { host: host.name, network, address: host.ip };
    for (const address of addresses) {
      const health = await this.health(platform, address, signal);
      if (health === null) continue;
      if (network !== 'management' && address === host.ip)
        this.logger.warn(
          told,
          'no disk service in the preferred network: the registered address carries the data',
        );
      return { url: diskServiceUrl(address, port), health };
    }
    return { url: diskServiceUrl(host.ip, port), health: null };
  }

  on(platform: Pick<RegisteredPlatform, 'diskService'>, hostIp: string): DiskServiceClient {
    const { port, token } = platform.diskService;
    return new DiskServiceClient({ url: diskServiceUrl(hostIp, port), token: this.open(token) });
  }

  /** Null when it does not answer. */
  private async health(
    platform: Pick<RegisteredPlatform, 'diskService'>,
    hostIp: string,
    signal: AbortSignal,
  ): Promise<DiskServiceHealth | null> {
    try {
      const bounded = AbortSignal.any([signal, AbortSignal.timeout(healthMs)]);
      return await this.on(platform, hostIp).health({ signal: bounded });
    } catch {
      if (signal.aborted) throw Fault.ofAbort(signal);
      return null;
    }
  }
}
