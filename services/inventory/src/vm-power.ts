import { type CasClient, type CasVmRow } from '@casvault/cas-client';
import {
  type Clock,
  Fault,
  type FaultCode,
  type Logger,
  type RunItemId,
  type VmId,
} from '@casvault/contracts';
import { type EndedItems, itemEnded } from './ended-items.js';
import { decideShutdown, decideStart, type Shutdown } from './shutdown.js';
import { type ShutdownStore } from './shutdown-store.js';
import { Turns } from './turns.js';
import { type PresentVm, type VmAccess } from './vm-access.js';

export interface VmPowerOptions {
  readonly shutdowns: Pick<ShutdownStore, 'find' | 'save' | 'end' | 'handOver' | 'leaveOff'>;
  readonly vms: Pick<VmAccess, 'with'>;
  readonly ended: Pick<EndedItems, 'tell' | 'isOver'>;
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
/** So long one call waits for the guest: an answer that is lost costs no more (G2). */
const turnMs = 40_000;

/**
 * R6: safe shutdowns for items, and the starting again. The guest is asked, the power is never cut. What is about to be
 * done is stored first, so that after any crash it is known who shut the VM down and that it ran before.
 */
export class VmPower {
  /** One call at a time for an item in this process. */
  private readonly turns = new Turns();

  constructor(private readonly options: VmPowerOptions) {}

  /**
   * Returns once the VM is off. PLATFORM_BUSY while the guest has time left: to be asked again. VM_STATE_REFUSED when it did not
   * shut down within the time since the first call: it is left running, and started again by the reconciler should it follow
   * later. Safe to repeat: `wasRunning` is that of the first call. ITEM_ENDED when the VM's host remembers that the item is over.
   */
  shutDown(
    request: { itemId: RunItemId; vmId: VmId; withinSeconds: number },
    signal: AbortSignal,
  ): Promise<{ wasRunning: boolean }> {
    const { itemId, vmId, withinSeconds } = request;
    const { shutdowns, clock } = this.options;
    return this.turns.take(itemId, () =>
      this.options.vms.with(vmId, signal, async ({ client, row, platform }) => {
        const earlier = await shutdowns.find(itemId, vmId);
        const step = decideShutdown(earlier, row.powerState);
        if (await this.isOver({ platform, row }, itemId, signal)) throw itemEnded(itemId);
        const wasRunning = earlier?.wasRunning ?? step !== 'already-down';
        const askedAt = step === 'wait' && earlier ? earlier.askedAt : clock.now();
        const intent = { itemId, vmId, platformId: platform.id, wasRunning, askedAt };
        const end =
          earlier?.state === 'refused' ? clock.now() : new Date(askedAt.getTime() + withinSeconds * 1_000);
        if (step === 'ask') await shutdowns.save({ ...intent, state: 'asked' });
        const reason =
          step === 'already-down'
            ? null
            : await this.untilDown(client, row, { end, isFirst: step === 'ask' }, signal);
        await shutdowns.save({ ...intent, state: reason === null ? 'down' : 'refused' });
        if (reason === null) return { wasRunning };
        throw new Fault('VM_STATE_REFUSED', `VM ${row.name} was asked to shut down and did not: ${reason}`, {
          details: { vmId, withinSeconds },
        });
      }),
    );
  }

  /**
   * Starts what this item shut down, with `wasOffToo` also what it found off, and nothing else; while another item has it off, that one is
   * to start it (F8: disks may be half written). No error when it runs already or is gone. Safe to repeat.
   */
  start(
    itemId: RunItemId,
    vmId: VmId,
    signal: AbortSignal,
    wasOffToo = false,
  ): Promise<'started' | 'watched' | 'ended'> {
    return this.turns.take(itemId, async () => {
      for (;;) {
        const shutdown = await this.options.shutdowns.find(itemId, vmId);
        if (shutdown === null || shutdown.state === 'ended') return 'ended';
        const outcome = await this.startUnlessGone(shutdown, wasOffToo, signal);
        if (outcome !== 'changed') return outcome;
      }
    });
  }

  /** It is its user's again, off, whoever else has it off: its disks are half written. Safe to repeat. */
  leaveOff(itemId: RunItemId, vmId: VmId, signal: AbortSignal): Promise<void> {
    return this.turns.take(itemId, async () => {
      const shutdown = await this.options.shutdowns.find(itemId, vmId);
      if (shutdown === null || shutdown.state === 'ended') return;
      await this.options.shutdowns.leaveOff(shutdown);
      await this.options.ended.tell(shutdown.platformId, itemId, signal);
    });
  }

  private async startUnlessGone(shutdown: Shutdown, wasOffToo: boolean, signal: AbortSignal) {
    try {
      return await this.startNow(shutdown, wasOffToo, signal);
    } catch (error) {
      if (!Fault.is(error) || (error.code !== 'VM_NOT_FOUND' && error.code !== 'NOT_FOUND')) throw error;
      await this.options.shutdowns.save({ ...shutdown, state: 'ended' });
      return 'ended' as const;
    }
  }

  /** `changed`: another has left the start to this item, or the VM off, since `shutdown` was read. */
  private startNow(shutdown: Shutdown, wasOffToo: boolean, signal: AbortSignal) {
    const { shutdowns, vms, ended, clock, logger } = this.options;
    return vms.with(shutdown.vmId, signal, async ({ client, platform, row }) => {
      const { itemId } = shutdown;
      if (await this.isOver({ platform, row }, itemId, signal)) {
        await shutdowns.save({ ...shutdown, state: 'ended' });
        return 'ended' as const;
      }
      const step = decideStart(shutdown, row.powerState, clock.now(), wasOffToo);
      if (step === 'watch') {
        await shutdowns.save({ ...shutdown, state: 'refused' });
        return 'watched' as const;
      }
      if (step === 'start') {
        if (await shutdowns.handOver(shutdown)) {
          await ended.tell(platform.id, itemId, signal);
          return 'ended' as const;
        }
        await client.startVm(row.externalId, signal);
        logger.info({ itemId, vm: row.name }, 'VM started again');
        await ended.tell(platform.id, itemId, signal);
        await shutdowns.save({ ...shutdown, state: 'ended' });
        return 'started' as const;
      }
      if (!(await shutdowns.end(shutdown))) return 'changed' as const;
      await ended.tell(platform.id, itemId, signal);
      return 'ended' as const;
    });
  }

  /** False also when its host can't tell: disks are written by that host alone, which would refuse. */
  private async isOver(
    { platform, row }: Pick<PresentVm, 'platform' | 'row'>,
    itemId: RunItemId,
    signal: AbortSignal,
  ): Promise<boolean> {
    const host = { externalId: row.hostExternalId };
    return (await this.options.ended.isOver(platform.id, host, itemId, signal)) === true;
  }

  /**
   * Null when it is off, else why not. The guest is asked again and again until the time is over; PLATFORM_BUSY when it has more
   * of it than this call.
   */
  private async untilDown(
    client: CasClient,
    row: CasVmRow,
    { end, isFirst }: { end: Date; isFirst: boolean },
    signal: AbortSignal,
  ): Promise<string | null> {
    const { clock, logger } = this.options;
    const turnEnd = Math.min(end.getTime(), clock.now().getTime() + turnMs);
    let reason = 'it still runs';
    for (let asked = isFirst ? 1 : 2; ; asked += 1) {
      if (await isDown(client, row, signal)) return null;
      const leftMs = turnEnd - clock.now().getTime();
      if (leftMs <= 0 && turnEnd === end.getTime()) return reason;
      if (leftMs <= 0) throw new Fault('PLATFORM_BUSY', `VM ${row.name} is still shutting down`);
      if (asked > 1) logger.info({ vm: row.name, asked }, 'VM asked to shut down once more');
      const said = await this.askOnce(client, row, Math.min(askAgainMs, leftMs), signal);
      if (said === null) continue;
      reason = said.message;
      // Later requests may be refused because the platform is still busy with the one before.
      if (asked > 1 || said.code === 'PLATFORM_TASK_FAILED') continue;
      if (said.code === 'PLATFORM_BUSY') throw said;
      return (await isDown(client, row, signal)) ? null : reason;
    }
  }

  /**
   * Presses the power button once and watches the VM for so long. A CVM's task may end when the guest is asked, or when it is down:
   * the state decides. Gives back what the platform said when it refuses the task, or the task fails.
   */
  private async askOnce(
    client: CasClient,
    row: CasVmRow,
    ms: number,
    signal: AbortSignal,
  ): Promise<Fault | null> {
    const { clock } = this.options;
    const turn = this.turn(ms, signal);
    try {
      await client.stopVm(row.externalId, turn.signal);
      while (!turn.signal.aborted && !(await isDown(client, row, turn.signal)))
        await clock.sleep(pollMs, turn.signal);
    } catch (error) {
      if (!turn.signal.aborted && (!Fault.is(error) || !platformSays.has(error.code))) throw error;
      if (!turn.signal.aborted) {
        await clock.sleep(pollMs, turn.signal);
        return Fault.from(error);
      }
    } finally {
      turn.end();
    }
    if (signal.aborted) throw Fault.ofAbort(signal);
    return null;
  }

  /** A signal that also ends after so long, by this service's clock. */
  private turn(ms: number, signal: AbortSignal): { signal: AbortSignal; end: () => void } {
    const over = new AbortController();
    void this.options.clock.sleep(ms, over.signal).then(() => over.abort());
    return { signal: AbortSignal.any([signal, over.signal]), end: () => over.abort() };
  }
}

const isDown = async (client: CasClient, { uuid, name }: CasVmRow, signal: AbortSignal): Promise<boolean> => {
  const now = await client.vmByUuid(uuid, signal);
  if (now === null) throw new Fault('VM_NOT_FOUND', `VM ${name} was removed while it was asked to shut down`);
  return now.powerState === 'stopped';
};
