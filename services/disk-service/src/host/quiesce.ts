import { Fault, type Clock, type Logger } from '@casvault/contracts';
import type { Libvirt } from '@casvault/libvirt';

/** libvirt waits half a minute for an agent that is still busy with our freeze. */
const thawTimeoutMs = 40_000;
const thawAttempts = 3;
const betweenThawsMs = 1_000;

const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/**
 * Freezes a guest's file systems for one step through its agent (D3), and thaws them whatever happens: also when the freeze
 * seems to have failed, since a guest that did not answer in time may freeze after that.
 */
export class GuestFreezer {
  readonly #libvirt: Libvirt;
  readonly #clock: Clock;
  readonly #logger: Logger;

  constructor(libvirt: Libvirt, clock: Clock, logger: Logger) {
    this.#libvirt = libvirt;
    this.#clock = clock;
    this.#logger = logger;
  }

  /**
   * Takes `step` while the guest is frozen, for at most `seconds`; `isFrozen` tells whether it was from the beginning to the end
   * of the step. A guest that somebody else froze is left to them. Throws what `step` throws, and LIBVIRT_FAILED when a frozen
   * guest can't be thawed.
   */
  async during<T>(
    vmUuid: string,
    seconds: number,
    step: () => Promise<T>,
  ): Promise<{ readonly result: T; readonly isFrozen: boolean }> {
    const until = this.#clock.now().getTime() + seconds * 1_000;
    const freeze = await this.#freeze(vmUuid, seconds * 1_000);
    if (freeze === 'refused') return { result: await step(), isFrozen: false };
    const ended = new AbortController();
    const leftMs = Math.max(0, until - this.#clock.now().getTime());
    const guard = this.#thawAt(vmUuid, leftMs, ended.signal);
    try {
      const result = await step();
      ended.abort();
      const isFrozen = freeze === 'frozen' && !(await guard);
      return { result, isFrozen };
    } finally {
      ended.abort();
      await guard.catch(() => true);
      await this.#thaw(vmUuid, freeze === 'frozen' ? isOver : isWithoutAgent);
    }
  }

  /** Thaws what may be frozen. Nothing frozen, no agent and no running VM are no error. Throws LIBVIRT_FAILED. */
  async thaw(vmUuid: string): Promise<void> {
    await this.#thaw(vmUuid, isWithoutAgent);
  }

  async #thaw(vmUuid: string, isEnough: (error: unknown) => boolean): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#libvirt.thaw(vmUuid, { timeoutMs: thawTimeoutMs });
        return;
      } catch (error) {
        if (isEnough(error)) return;
        this.#logger.warn({ vmUuid, attempt, said: wordsOf(error) }, 'the guest is not thawed yet');
        if (attempt >= thawAttempts) throw error;
        await this.#clock.sleep(betweenThawsMs);
      }
    }
  }

  /** `refused`: nothing is frozen by us. `unsure`: it may be frozen in part, or be so later. */
  async #freeze(vmUuid: string, timeoutMs: number): Promise<'frozen' | 'refused' | 'unsure'> {
    try {
      await this.#libvirt.freeze(vmUuid, { timeoutMs });
      return 'frozen';
    } catch (error) {
      this.#logger.info({ vmUuid, said: wordsOf(error) }, 'the guest is not frozen');
      return isWithoutAgent(error) || isRefused(error) ? 'refused' : 'unsure';
    }
  }

  /** Says whether the time ran out, and the guest was thawed under the step. */
  async #thawAt(vmUuid: string, ms: number, signal: AbortSignal): Promise<boolean> {
    await this.#clock.sleep(ms, signal);
    if (signal.aborted) return false;
    this.#logger.warn({ vmUuid }, 'the guest was frozen for as long as is allowed: thawed');
    await this.#thaw(vmUuid, isWithoutAgent);
    return true;
  }
}

const says = (error: unknown, words: RegExp): boolean =>
  Fault.is(error) && error.code === 'LIBVIRT_FAILED' && words.test(error.message);

/** With the VM went what was frozen in it. */
const isOver = (error: unknown): boolean =>
  (Fault.is(error) && error.code === 'VM_NOT_FOUND') || says(error, /domain is not running/i);

/** Somebody else froze it, in the words of libvirt or of the agent (which disables the command in a frozen guest), or nobody ever may. */
const isRefused = (error: unknown): boolean =>
  says(error, /already quiesced|guest-fsfreeze-freeze has been disabled/i);

/** Nobody in the guest could freeze it, or can thaw it. */
const isWithoutAgent = (error: unknown): boolean =>
  isOver(error) || says(error, /agent is not (configured|connected|responding)|agent not available/i);
