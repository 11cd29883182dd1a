import {
  deregisterPlatform,
  diagnosePlatform,
  getHost,
  getPlatform,
  getVm,
  getVmFacts,
  getVms,
  listHosts,
  listImages,
  listPlatforms,
  listProfiles,
  listStorages,
  listSwitches,
  listVms,
  registerPlatform,
  syncPlatform,
} from '@casvault/contracts';
import { type MessageContext, OnQuery } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { Diagnosis } from './diagnosis.js';
import { HostStore } from './host-store.js';
import { NetworkStore } from './network-store.js';
import { platformView } from './platform.js';
import { PlatformRegistry } from './platform-registry.js';
import { PlatformStore } from './platform-store.js';
import { PlatformSync } from './platform-sync.js';
import { VmFactsReader } from './vm-facts.js';
import { VmStore } from './vm-store.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

@Controller()
export class PlatformHandlers {
  constructor(
    @Inject(PlatformRegistry) private readonly registry: PlatformRegistry,
    @Inject(PlatformStore) private readonly platforms: PlatformStore,
    @Inject(PlatformSync) private readonly sync: PlatformSync,
    @Inject(HostStore) private readonly hosts: HostStore,
    @Inject(VmStore) private readonly vms: VmStore,
    @Inject(VmFactsReader) private readonly facts: VmFactsReader,
    @Inject(NetworkStore) private readonly networks: NetworkStore,
    @Inject(Diagnosis) private readonly diagnosis: Diagnosis,
  ) {}

  @OnQuery(registerPlatform)
  async register(request: Request<typeof registerPlatform>, context: MessageContext) {
    return this.registry.register(request, context.signal);
  }

  @OnQuery(deregisterPlatform)
  async deregister({ platformId }: Request<typeof deregisterPlatform>) {
    await this.registry.deregister(platformId);
    return {};
  }

  @OnQuery(listPlatforms)
  async list(request: Request<typeof listPlatforms>) {
    const { items, nextCursor } = await this.platforms.page(request);
    return { items: items.map(platformView), nextCursor };
  }

  @OnQuery(getPlatform)
  async get({ platformId }: Request<typeof getPlatform>) {
    return platformView(await this.platforms.get(platformId));
  }

  @OnQuery(syncPlatform)
  async synchronise({ platformId }: Request<typeof syncPlatform>) {
    await this.sync.run(platformId, { everything: true, fresh: true });
    return platformView(await this.platforms.get(platformId));
  }

  @OnQuery(diagnosePlatform)
  async diagnose({ platformId }: Request<typeof diagnosePlatform>, context: MessageContext) {
    return this.diagnosis.run(platformId, context.signal);
  }

  @OnQuery(listHosts)
  async listHosts(request: Request<typeof listHosts>) {
    return this.hosts.page(request);
  }

  @OnQuery(listVms)
  async listVms(request: Request<typeof listVms>) {
    return this.vms.page(request);
  }

  @OnQuery(getVm)
  async getVm({ vmId }: Request<typeof getVm>) {
    return this.vms.get(vmId);
  }

  @OnQuery(getVms)
  async getVms({ vmIds }: Request<typeof getVms>) {
    return this.vms.those(vmIds);
  }

  @OnQuery(getHost)
  async getHost({ hostId }: Request<typeof getHost>) {
    return this.hosts.byId(hostId);
  }

  @OnQuery(getVmFacts)
  async getVmFacts({ vmId, ...asked }: Request<typeof getVmFacts>, context: MessageContext) {
    return this.facts.read(vmId, asked, context.signal);
  }

  @OnQuery(listStorages)
  async listStorages(request: Request<typeof listStorages>) {
    return this.networks.storages(request);
  }

  @OnQuery(listSwitches)
  async listSwitches(request: Request<typeof listSwitches>) {
    return this.networks.switches(request);
  }

  @OnQuery(listImages)
  async listImages(request: Request<typeof listImages>) {
    return this.networks.images(request);
  }

  @OnQuery(listProfiles)
  async listProfiles(request: Request<typeof listProfiles>) {
    return this.networks.profiles(request);
  }
}
