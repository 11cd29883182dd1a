import {
  type Clock,
  Fault,
  type Platform,
  type PlatformId,
  type registerPlatform,
} from '@casvault/contracts';
import { type z } from 'zod';
import { type CasAccess } from './cas-access.js';
import { platformView, type RegisteredPlatform } from './platform.js';
import { nameTaken, type PlatformStore } from './platform-store.js';

export type Registration = z.infer<typeof registerPlatform.request>;

const isSame = (platform: RegisteredPlatform, asked: Registration): boolean =>
  platform.name === asked.name &&
  platform.address === asked.connection.address &&
  platform.port === asked.connection.port &&
  platform.userName === asked.connection.userName;

/** C1, C2, C3: what is registered. */
export class PlatformRegistry {
  constructor(
    private readonly platforms: PlatformStore,
    private readonly access: CasAccess,
    private readonly clock: Clock,
  ) {}

  /**
   * Tries the connection, judges version and architecture, and only then saves. Sent again with the same id it replies
   * with what is registered. The first synchronisation follows by itself.
   */
  async register(asked: Registration, signal: AbortSignal): Promise<Platform> {
    const known = await this.platforms.find(asked.id);
    if (known !== null) {
      if (isSame(known, asked)) return platformView(known);
      throw new Fault(
        'ALREADY_EXISTS',
        `id: platform ${asked.id} is registered already, with other settings`,
      );
    }
    if (!(await this.platforms.isNameFree(asked.name))) throw nameTaken(asked.name);
    const facts = await this.access.with(asked.connection, (client) => client.probe(signal));
    const platform: RegisteredPlatform = {
      ...asked.connection,
      id: asked.id,
      name: asked.name,
      type: 'h3c-cas',
      diskService: asked.diskService,
      version: facts.release,
      architecture: facts.architecture,
      state: 'online',
      stateMessage: null,
      lastSyncAt: null,
      createdAt: this.clock.now().toISOString(),
    };
    await this.platforms.add(platform);
    return platformView(platform);
  }

  /** Nothing is done at the CVM. Points of its VMs stay, and can be restored to another platform. */
  async deregister(id: PlatformId): Promise<void> {
    await this.platforms.deregister(id, this.clock.now());
  }
}
