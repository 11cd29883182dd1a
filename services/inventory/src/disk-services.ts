import { DiskServiceClient } from '@casvault/block-source';
import { type DiskServiceHealth, Fault } from '@casvault/contracts';
import { diskServiceUrl, type RegisteredPlatform } from './platform.js';

/** A health question is quick, or the host is taken not to answer. */
const healthMs = 5_000;

/** The only place where the token of a platform's disk services is opened. */
export class DiskServices {
  /** `open`: the plain text goes into the client and nowhere else. */
  constructor(private readonly open: (sealed: string) => string) {}

  on(platform: Pick<RegisteredPlatform, 'diskService'>, hostIp: string): DiskServiceClient {
    const { port, token } = platform.diskService;
    return new DiskServiceClient({ url: diskServiceUrl(hostIp, port), token: this.open(token) });
  }

  /** Null when it does not answer. */
  async health(
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
