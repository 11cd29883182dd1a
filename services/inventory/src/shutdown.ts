import { type CasPowerState } from '@casvault/cas-client';
import { Fault, type PlatformId, type RunItemId, type VmId } from '@casvault/contracts';

/**
 * `asked`: the guest is, or is about to be, asked. `down`: it did. `refused`: it did not in time, and may still.
 * `starting`: it is, or is about to be, powered on. `ended`: the VM is its user's again.
 */
export type ShutdownState = 'asked' | 'down' | 'refused' | 'starting' | 'ended';

/** What one item did to the power of one VM. Stored before the CVM is asked. */
export interface Shutdown {
  readonly itemId: RunItemId;
  readonly vmId: VmId;
  readonly platformId: PlatformId;
  readonly state: ShutdownState;
  /** When the item first asked: whoever shuts a VM down starts it again. */
  readonly wasRunning: boolean;
  readonly askedAt: Date;
}

/** F8: whether it has the VM off, or is about to: nobody else starts the VM then, whose disks may be half written. */
export const isHeir = ({ state }: Pick<Shutdown, 'state'>): boolean => state === 'asked' || state === 'down';

/** `wait`: the guest was, or was about to be, asked, and has its time since then. */
export type ShutdownStep = 'ask' | 'wait' | 'already-down';

/** What `shutDownVm` does. Throws VM_STATE_REFUSED (R11: paused, migrating) and CONFLICT for a message that comes too late. */
export const decideShutdown = (earlier: Shutdown | null, power: CasPowerState): ShutdownStep => {
  if (earlier?.state === 'starting' || earlier?.state === 'ended')
    throw new Fault('CONFLICT', 'the item has given the VM back already: it is not shut down once more');
  if (power === 'stopped') return 'already-down';
  if (power !== 'running')
    throw new Fault('VM_STATE_REFUSED', `the VM is ${power}: only a running one can be shut down (R11)`);
  if (earlier?.wasRunning === false)
    throw new Fault('VM_STATE_REFUSED', 'the VM was off when the item began and has been started by another');
  return earlier?.state === 'asked' || earlier?.state === 'refused' ? 'wait' : 'ask';
};

/** `start`: power on. `watch`: it runs, yet may still follow the shutdown that it was asked for. `end`: nothing is left to do. */
export type StartStep = 'start' | 'watch' | 'end';

/** For how long a guest that did not shut down in time may still do it. */
const lateShutdownMs = 3_600_000;

/** What `startVm` and the reconciler do: only what this item shut down is started, or with `wasOffToo` found off. Throws PLATFORM_BUSY when the state can't be told. */
export const decideStart = (
  shutdown: Shutdown,
  power: CasPowerState,
  now: Date,
  wasOffToo = false,
): StartStep => {
  if ((!shutdown.wasRunning && !wasOffToo) || shutdown.state === 'ended') return 'end';
  if (power === 'stopped') return 'start';
  if (power === 'unknown') throw new Fault('PLATFORM_BUSY', 'the CVM cannot tell now whether the VM runs');
  const wasDown = shutdown.state === 'down' || shutdown.state === 'starting';
  const mayFollow = !wasDown && now.getTime() - shutdown.askedAt.getTime() < lateShutdownMs;
  return mayFollow ? 'watch' : 'end';
};
