import { Fault, type Host, type Logger, type PlatformId, type RunItemId } from '@casvault/contracts';
import { eachBounded } from './bounded.js';
import { type DiskServices } from './disk-services.js';
import { type HostStore } from './host-store.js';
import { type RegisteredPlatform } from './platform.js';
import { type PlatformStore } from './platform-store.js';

export interface EndedItemsOptions {
  readonly platforms: Pick<PlatformStore, 'get'>;
  readonly hosts: {
    all(
      ...platform: Parameters<HostStore['all']>
    ): Promise<readonly Pick<Host, 'id' | 'externalId' | 'name' | 'ip'>[]>;
  };
  readonly diskServices: {
    on(
      ...host: Parameters<DiskServices['on']>
    ): Pick<ReturnType<DiskServices['on']>, 'endItem' | 'endedItem'>;
  };
  readonly logger: Logger;
}

/** A host that has not answered by then does not hear of it, or can't be asked. */
const answerMs = 5_000;
const parallelHosts = 8;

/** By our id of it, or by the platform's. */
export type HostKey = Pick<Host, 'id'> | Pick<Host, 'externalId'>;

/**
 * What the hosts remember of run items that are over. It outlives the databases: after these were set back to an older copy, an item that
 * was under way then, and that has handed over since what it wrote, must not write, power or remove that a second time.
 */
export class EndedItems {
  constructor(private readonly options: EndedItemsOptions) {}

  /**
   * Tells every host of the platform, since a VM may move to any: the item is over. A silent host is no failure, and is told of in the log:
   * what is handed over is not taken back for it. At most `parallelHosts` at a time. Memory: one row of some 300 bytes a host.
   */
  async tell(platformId: PlatformId, itemId: RunItemId, signal: AbortSignal): Promise<void> {
    const deaf: string[] = [];
    const platform = await this.options.platforms.get(platformId);
    await eachBounded(await this.options.hosts.all(platformId), parallelHosts, async ({ name, ip }) => {
      try {
        await this.on(platform, ip).endItem(itemId, { signal: within(signal) });
      } catch {
        deaf.push(name);
      }
    });
    if (deaf.length > 0)
      this.options.logger.warn(
        { itemId, platform: platform.name, hosts: deaf },
        'hosts were not told that an item has ended',
      );
  }

  /** Null when the host can't be asked, or is not on the platform any more. */
  async isOver(
    platformId: PlatformId,
    host: HostKey,
    itemId: RunItemId,
    signal: AbortSignal,
  ): Promise<boolean | null> {
    const platform = await this.options.platforms.get(platformId);
    const found = (await this.options.hosts.all(platformId)).find((one) =>
      'id' in host ? one.id === host.id : one.externalId === host.externalId,
    );
    if (found === undefined) return null;
    try {
      const { endedAt } = await this.on(platform, found.ip).endedItem(itemId, { signal: within(signal) });
      return endedAt !== null;
    } catch {
      if (signal.aborted) throw Fault.ofAbort(signal);
      return null;
    }
  }

  private on(platform: RegisteredPlatform, ip: string) {
    return this.options.diskServices.on(platform, ip);
  }
}

/** Before anything is made or changed for an item that its host knows to be over. */
export const itemEnded = (itemId: RunItemId): Fault =>
  new Fault('ITEM_ENDED', `item ${itemId} has ended before, as its host remembers: it does nothing again`, {
    details: { itemId },
  });

/** Before something is removed that may have been handed over, and whose host can't tell: it is left to a later pass over the platform. */
export const endUnknown = (what: string): Fault =>
  new Fault('CONFLICT', `${what} is not removed while its host can't tell whether it was handed over`);

const within = (signal: AbortSignal): AbortSignal => AbortSignal.any([signal, AbortSignal.timeout(answerMs)]);
