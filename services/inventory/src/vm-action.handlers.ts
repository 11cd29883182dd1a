import {
  createVmSnapshot,
  leaveVmOff,
  reconcilePlatform,
  removeCheckpoints,
  removeVmSnapshot,
  shutDownVm,
  startVm,
} from '@casvault/contracts';
import { type MessageContext, OnQuery } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { Checkpoints } from './checkpoints.js';
import { Reconciliation } from './reconciliation.js';
import { VmPower } from './vm-power.js';
import { VmSnapshots } from './vm-snapshots.js';

type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

/** What items ask of VMs, and what is done about those that died over it. */
@Controller()
export class VmActionHandlers {
  constructor(
    @Inject(VmPower) private readonly power: VmPower,
    @Inject(VmSnapshots) private readonly snapshots: VmSnapshots,
    @Inject(Checkpoints) private readonly checkpoints: Checkpoints,
    @Inject(Reconciliation) private readonly reconciliation: Reconciliation,
  ) {}

  @OnQuery(shutDownVm)
  async shutDown(request: Request<typeof shutDownVm>, context: MessageContext) {
    return this.power.shutDown(request, context.signal);
  }

  @OnQuery(startVm)
  async start({ itemId, vmId, wasOffToo }: Request<typeof startVm>, context: MessageContext) {
    await this.power.start(itemId, vmId, context.signal, wasOffToo);
    return {};
  }

  @OnQuery(leaveVmOff)
  async leaveOff({ itemId, vmId }: Request<typeof leaveVmOff>, context: MessageContext) {
    await this.power.leaveOff(itemId, vmId, context.signal);
    return {};
  }

  @OnQuery(createVmSnapshot)
  async createSnapshot(request: Request<typeof createVmSnapshot>, context: MessageContext) {
    return this.snapshots.create(request, context.signal);
  }

  @OnQuery(removeVmSnapshot)
  async removeSnapshot({ itemId, vmId }: Request<typeof removeVmSnapshot>, context: MessageContext) {
    await this.snapshots.remove(itemId, vmId, context.signal);
    return {};
  }

  @OnQuery(removeCheckpoints)
  async removeCheckpoints({ vmId, keep }: Request<typeof removeCheckpoints>, context: MessageContext) {
    return { removed: await this.checkpoints.remove(vmId, keep, context.signal) };
  }

  @OnQuery(reconcilePlatform)
  async reconcile({ platformId }: Request<typeof reconcilePlatform>, context: MessageContext) {
    return { findings: await this.reconciliation.run(platformId, context.signal) };
  }
}
