import { DiskServiceClient } from '@casvault/block-source';
import {
  type DiskServiceHealth,
  Fault,
  type HostId,
  type Logger,
  type PreferredNetwork,
  type ReasonCode,
} from '@casvault/contracts';
import { dataAddresses, isFallback, networksFor } from './data-network.rules.js';
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
   * R16: where data are read and written on a host: in the first network in which it answers, else by its registered address. Where that is
   * not the preferred one, a line in the log and a reason for the run tell of it. `health` is null when it answers nowhere.
   */
  async dataPlace(
    platform: Pick<RegisteredPlatform, 'diskService'>,
    host: { readonly id: HostId; readonly name: string; readonly ip: string },
    preferred: PreferredNetwork = 'auto',
    signal: AbortSignal,
  ): Promise<{ url: string; health: DiskServiceHealth | null; reasons: ReasonCode[] }> {
    const { network, port } = platform.diskService;
    const networks = networksFor(preferred, network);
    const switches = networks.length === 1 ? [] : await this.networks.switchesOf(host.id);
    let [address, health]: [string, DiskServiceHealth | null] = [host.ip, null];
    for (const one of dataAddresses(host.ip, switches, networks)) {
      health = await this.health(platform, one, signal);
      address = one;
      if (health !== null) break;
    }
    const asked = preferred === 'auto' ? network : preferred;
    const fellBack = isFallback(asked, switches, address);
    if (fellBack)
      this.logger.warn(
        { host: host.name, network: asked, address },
        'no disk service in the preferred network: another carries the data',
      );
    const reasons: ReasonCode[] = fellBack && preferred !== 'auto' ? ['NETWORK_FALLBACK'] : [];
    return { url: diskServiceUrl(address, port), health, reasons };
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
