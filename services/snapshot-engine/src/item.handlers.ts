import {
  copyPoint,
  createFromPoint,
  protectVm,
  restoreVm,
  rollbackVm,
  stopItem,
  transferChanged,
  verifyPoint,
  type TransferChanged,
} from '@casvault/contracts';
import { OnCommand, OnEvent } from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { Copies } from './copies.js';
import { Deletions } from './deletions.js';
import { Items } from './items.js';
import { Verifications } from './verifications.js';

type Payload<T extends { payload: z.ZodType }> = z.output<T['payload']>;

@Controller()
export class ItemHandlers {
  constructor(
    @Inject(Items) private readonly items: Items,
    @Inject(Deletions) private readonly deletions: Pick<Deletions, 'transferChanged'>,
    @Inject(Verifications)
    private readonly verifications: Pick<Verifications, 'transferChanged' | 'verifyItem' | 'stopItem'>,
    @Inject(Copies) private readonly copies: Pick<Copies, 'transferChanged' | 'copy' | 'stopItem'>,
  ) {}

  @OnCommand(protectVm)
  async protect(request: Payload<typeof protectVm>): Promise<void> {
    await this.items.protect(request);
  }

  @OnCommand(restoreVm)
  async restore(request: Payload<typeof restoreVm>): Promise<void> {
    await this.items.restore(request);
  }

  @OnCommand(createFromPoint)
  async create(request: Payload<typeof createFromPoint>): Promise<void> {
    await this.items.restore(request);
  }

  @OnCommand(rollbackVm)
  async rollBack(request: Payload<typeof rollbackVm>): Promise<void> {
    await this.items.rollBack(request);
  }

  @OnCommand(verifyPoint)
  async verify(request: Payload<typeof verifyPoint>): Promise<void> {
    await this.verifications.verifyItem(request);
  }

  @OnCommand(copyPoint)
  async copy(request: Payload<typeof copyPoint>): Promise<void> {
    await this.copies.copy(request);
  }

  @OnCommand(stopItem)
  async stop({ itemId }: Payload<typeof stopItem>): Promise<void> {
    if (await this.verifications.stopItem(itemId)) return;
    if (!(await this.copies.stopItem(itemId))) await this.items.stop(itemId);
  }

  @OnEvent(transferChanged)
  async transferChanged(change: TransferChanged): Promise<void> {
    if (await this.verifications.transferChanged(change)) return;
    if (await this.copies.transferChanged(change)) return;
    if (!(await this.deletions.transferChanged(change))) await this.items.transferChanged(change);
  }
}
