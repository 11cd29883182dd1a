import {
  claimTransfer,
  Fault,
  finishTransfer,
  getPoolAccess,
  isTransferOver,
  newId,
  nextWriter,
  removePoints,
  renewTransfer,
  replaceOpening,
  runHook,
  startTransfer,
  stopTransfer,
  type OpeningId,
  type WriterId,
} from '@casvault/contracts';
import {
  MessagingClient,
  OnCommand,
  OnQuery,
  type MessageContext,
  type Messenger,
} from '@casvault/messaging';
import { Controller, Inject } from '@nestjs/common';
import { type z } from 'zod';
import { TransferMetrics } from './transfer-metrics.js';
import { TransferStore } from './transfer-store.js';
import { leaseSeconds, Transfers } from './transfers.js';

type Payload<T extends { payload: z.ZodType }> = z.output<T['payload']>;
type Request<T extends { request: z.ZodType }> = z.output<T['request']>;

/** What others ask of the data-mover. */
@Controller()
export class TransferHandlers {
  constructor(
    @Inject(Transfers) private readonly transfers: Transfers,
    @Inject(TransferStore) private readonly store: Pick<TransferStore, 'inUse'>,
    @Inject(MessagingClient) private readonly client: Pick<Messenger, 'request'>,
  ) {}

  @OnCommand(startTransfer)
  async start({ stopAsked, ...request }: Payload<typeof startTransfer>): Promise<void> {
    await this.transfers.begin(request, stopAsked);
  }

  @OnCommand(runHook)
  async runHook({ stopAsked, spec, ...request }: Payload<typeof runHook>): Promise<void> {
    await this.transfers.begin({ ...request, ownerId: spec.runId, spec }, stopAsked);
  }

  @OnCommand(stopTransfer)
  async stop({ transferId }: Payload<typeof stopTransfer>): Promise<void> {
    await this.transfers.deliver(transferId, { type: 'stop' });
  }

  /** Comes again until nothing uses the points any more. */
  @OnCommand(removePoints)
  async remove(
    { transferId, ownerId, group, poolId, chainId, pointIds, dryRun }: Payload<typeof removePoints>,
    { signal }: MessageContext,
  ): Promise<void> {
    const usedId = dryRun ? null : await this.store.inUse(pointIds);
    if (usedId) throw new Fault('DEPENDENCY_UNAVAILABLE', `point ${usedId} is still written or read`);
    const pool = await this.client.request(getPoolAccess, { poolId }, { signal });
    const writers = await this.transfers.writersOf(pointIds);
    const spec = { kind: 'removal' as const, pointIds, chainId, pool, dryRun, writers };
    await this.transfers.begin({ transferId, ownerId, group, spec });
  }
}

/** What workers ask. */
@Controller()
export class WorkerHandlers {
  constructor(
    @Inject(Transfers) private readonly transfers: Transfers,
    @Inject(TransferMetrics) private readonly metrics: Pick<TransferMetrics, 'finished'>,
  ) {}

  @OnQuery(claimTransfer)
  async claim({ transferId, workerId }: Request<typeof claimTransfer>) {
    return this.transfers.claim(transferId, workerId);
  }

  @OnQuery(renewTransfer)
  async renew({ transferId, ...renewal }: Request<typeof renewTransfer>) {
    const { stopAsked } = await this.transfers.deliver(transferId, { type: 'renew', ...renewal });
    return { verdict: stopAsked ? ('stop' as const) : ('go on' as const), leaseSeconds };
  }

  @OnQuery(isTransferOver)
  async isOver({ transferId }: Request<typeof isTransferOver>) {
    return { isOver: await this.transfers.isOver(transferId) };
  }

  @OnQuery(nextWriter)
  async nextWriter({ transferId, epoch }: Request<typeof nextWriter>) {
    const writerId = newId<WriterId>();
    const { writers } = await this.transfers.deliver(transferId, { type: 'nextWriter', epoch, writerId });
    return { writerId, earlierWriters: [...writers] };
  }

  @OnQuery(replaceOpening)
  async replaceOpening({ transferId, epoch, lostOpeningId }: Request<typeof replaceOpening>) {
    const { openingId, claim } = await this.transfers.deliver(transferId, {
      type: 'replaceOpening',
      epoch,
      lostOpeningId,
      openingId: newId<OpeningId>(),
      writerId: newId<WriterId>(),
    });
    if (!openingId || !claim) throw new Fault('BUG', `transfer ${transferId} is claimed without an opening`);
    return { openingId, writerId: claim.writerId };
  }

  @OnQuery(finishTransfer)
  async finish({ transferId, epoch, outcome }: Request<typeof finishTransfer>) {
    const state = await this.transfers.deliver(transferId, { type: 'finish', epoch, outcome });
    this.metrics.finished(state);
    return {};
  }
}
