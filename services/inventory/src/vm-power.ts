import { type CasClient, type CasVmRow } from '@casvault/cas-client';
import {
  type Clock,
  Fault,
  type FaultCode,
  type Logger,
  type RunItemId,
  type VmId,
} from '@casvault/contracts';
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
/** What a platform says about a request that it does not carry out. */
const platformSays: ReadonlySet<FaultCode> = new Set([
  'PLATFORM_REFUSED',
  'PLATFORM_TASK_FAILED',
  'PLATFORM_BUSY',
]);
/** A guest that is still booting does not hear its power button: it is pressed again after so long. */
const askAgainMs = 30_000;

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

  /** Null when it is off, else why not. The guest is asked again and again until the time is over. */
  private async untilDown(
    client: CasClient,
    row: CasVmRow,
    withinSeconds: number,
    signal: AbortSignal,
  ): Promise<string | null> {
    const deadline = AbortSignal.timeout(withinSeconds * 1000);
    const bounded = AbortSignal.any([signal, deadline]);
    let reason = `it still runs after ${String(withinSeconds)} s`;
    for (let asked = 1; !bounded.aborted; asked += 1) {
      if (asked > 1) this.options.logger.info({ vm: row.name, asked }, 'VM asked to shut down once more');
      const said = await this.askOnce(client, row, bounded);
      if (said === 'down') return null;
      if (said !== 'up') reason = said.message;
      // Later requests may be refused because the platform is still busy with the one before.
      if (asked > 1 || said === 'up' || said.code === 'PLATFORM_TASK_FAILED') continue;
      if (said.code === 'PLATFORM_BUSY') throw said;
      break;
    }
    if (signal.aborted) throw Fault.ofAbort(signal);
    return (await isDown(client, row, signal)) ? null : reason;
  }

  /**
   * Presses the power button once and watches the VM for a while. A CVM's task may end when the guest is asked, or when it is down:
   * the state decides. Gives back what the platform said when it refuses the task, or the task fails.
   */
  private async askOnce(
    client: CasClient,
    row: CasVmRow,
    bounded: AbortSignal,
  ): Promise<'down' | 'up' | Fault> {
    const turn = AbortSignal.any([bounded, AbortSignal.timeout(askAgainMs)]);
    try {
      if (await isDown(client, row, turn)) return 'down';
      await client.stopVm(row.externalId, turn);
      while (!turn.aborted) {
        if (await isDown(client, row, turn)) return 'down';
        await this.options.clock.sleep(pollMs, turn);
      }
    } catch (error) {
      if (turn.aborted) return 'up';
      if (!Fault.is(error) || !platformSays.has(error.code)) throw error;
      await this.options.clock.sleep(pollMs, turn);
      return error;
    }
    return 'up';
  }
}

const isDown = async (client: CasClient, { uuid, name }: CasVmRow, signal: AbortSignal): Promise<boolean> => {
  const now = await client.vmByUuid(uuid, signal);
  if (now === null) throw new Fault('VM_NOT_FOUND', `VM ${name} was removed while it was asked to shut down`);
  return now.powerState === 'stopped';
};
