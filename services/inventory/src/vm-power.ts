import { type CasClient, type CasVmRow } from '@casvault/cas-client';
import { type Clock, Fault, type Logger, type RunItemId, type VmId } from '@casvault/contracts';
import { decideShutdown, decideStart, type Shutdown } from './shutdown.js';
import { type ShutdownStore } from './shutdown-store.js';
import { Turns } from './turns.js';
import { type VmAccess } from './vm-access.js';

export interface VmPowerOptions {
  readonly shutdowns: ShutdownStore;
  readonly vms: VmAccess;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Between two looks at a VM that is shutting down. */
const pollMs = 1_000;

/**
 * R6: safe shutdowns for items, and the starting again. The guest is asked, the power is never cut. What is about to be
 * done is stored first, so that after any crash it is known who shut the VM down and that it ran before.
 */
export class VmPower {
  /** One call at a time for an item in this process. */
  private readonly turns = new Turns();

  constructor(private readonly options: VmPowerOptions) {}

  /**
   * Returns once the VM is off. VM_STATE_REFUSED when the guest did not shut down within the time: it is left running, and
   * started again by the reconciler should it follow later. Safe to repeat: `wasRunning` is that of the first call.
   */
  shutDown(
    request: { itemId: RunItemId; vmId: VmId; withinSeconds: number },
    signal: AbortSignal,
  ): Promise<{ wasRunning: boolean }> {
    const { itemId, vmId, withinSeconds } = request;
    return this.turns.take(itemId, () =>
      this.options.vms.with(vmId, signal, async ({ client, row, platform }) => {
        const earlier = await this.options.shutdowns.find(itemId, vmId);
        const step = decideShutdown(earlier, row.powerState);
        const wasRunning = earlier?.wasRunning ?? step === 'ask';
        const askedAt = this.options.clock.now();
        const intent: Shutdown = {
          itemId,
          vmId,
          platformId: platform.id,
          state: 'asked',
          wasRunning,
          askedAt,
        };
        if (step === 'ask') {
          await this.options.shutdowns.save(intent);
          await this.askGuest(client, row, { intent, withinSeconds }, signal);
        }
        await this.options.shutdowns.save({ ...intent, state: 'down' });
        return { wasRunning };
      }),
    );
  }

  /** Starts what this item shut down, with `wasOffToo` also what it found off, and nothing else. No error when it runs already or is gone. Safe to repeat. */
  start(
    itemId: RunItemId,
    vmId: VmId,
    signal: AbortSignal,
    wasOffToo = false,
  ): Promise<'started' | 'watched' | 'ended'> {
    return this.turns.take(itemId, async () => {
      const shutdown = await this.options.shutdowns.find(itemId, vmId);
      if (shutdown === null || shutdown.state === 'ended') return 'ended';
      try {
        return await this.startNow(shutdown, wasOffToo, signal);
      } catch (error) {
        if (!Fault.is(error) || (error.code !== 'VM_NOT_FOUND' && error.code !== 'NOT_FOUND')) throw error;
        await this.options.shutdowns.save({ ...shutdown, state: 'ended' });
        return 'ended';
      }
    });
  }

  /** It is its user's again, off. Safe to repeat. */
  leaveOff(itemId: RunItemId, vmId: VmId): Promise<void> {
    return this.turns.take(itemId, async () => {
      const shutdown = await this.options.shutdowns.find(itemId, vmId);
      if (shutdown) await this.options.shutdowns.save({ ...shutdown, state: 'ended' });
    });
  }

  private startNow(shutdown: Shutdown, wasOffToo: boolean, signal: AbortSignal) {
    const { shutdowns, vms, clock, logger } = this.options;
    return vms.with(shutdown.vmId, signal, async ({ client, row }) => {
      const step = decideStart(shutdown, row.powerState, clock.now(), wasOffToo);
      if (step === 'watch') {
        await shutdowns.save({ ...shutdown, state: 'refused' });
        return 'watched' as const;
      }
      if (step === 'start') {
        await client.startVm(row.externalId, signal);
        logger.info({ itemId: shutdown.itemId, vm: row.name }, 'VM started again');
      }
      await shutdowns.save({ ...shutdown, state: 'ended' });
      return step === 'start' ? ('started' as const) : ('ended' as const);
    });
  }

  private async askGuest(
    client: CasClient,
    row: CasVmRow,
    { intent, withinSeconds }: { intent: Shutdown; withinSeconds: number },
    signal: AbortSignal,
  ): Promise<void> {
    const reason = await this.untilDown(client, row, withinSeconds, signal);
    if (reason === null) return;
    await this.options.shutdowns.save({ ...intent, state: 'refused' });
    throw new Fault('VM_STATE_REFUSED', `VM ${row.name} was asked to shut down and did not: ${reason}`, {
      details: { vmId: intent.vmId, withinSeconds },
    });
  }

  /** Null when it is off, else why not. A CVM's task may end when the guest is asked, or when it is down: the state decides. */
  private async untilDown(
    client: CasClient,
    row: CasVmRow,
    withinSeconds: number,
    signal: AbortSignal,
  ): Promise<string | null> {
    const deadline = AbortSignal.timeout(withinSeconds * 1000);
    const bounded = AbortSignal.any([signal, deadline]);
    let reason = `it still runs after ${String(withinSeconds)} s`;
    try {
      await client.stopVm(row.externalId, bounded);
      while (!bounded.aborted && !(await isDown(client, row, bounded)))
        await this.options.clock.sleep(pollMs, bounded);
    } catch (error) {
      const isRefused =
        Fault.is(error) && (error.code === 'PLATFORM_REFUSED' || error.code === 'PLATFORM_TASK_FAILED');
      if (isRefused) reason = error.message;
      else if (!deadline.aborted) throw error;
    }
    if (signal.aborted) throw Fault.ofAbort(signal);
    return (await isDown(client, row, signal)) ? null : reason;
  }
}

const isDown = async (client: CasClient, { uuid, name }: CasVmRow, signal: AbortSignal): Promise<boolean> => {
  const now = await client.vmByUuid(uuid, signal);
  if (now === null) throw new Fault('VM_NOT_FOUND', `VM ${name} was removed while it was asked to shut down`);
  return now.powerState === 'stopped';
};
