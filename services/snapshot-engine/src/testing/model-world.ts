import { Fault, type FaultJson, type TransferChanged } from '@casvault/contracts';
import { Driver } from './driver.js';
import { ModelTransfer } from './model-transfer.js';

type News = { readonly type: 'transferNews'; readonly change: TransferChanged };

/**
 * A machine in a model world: a transfer whose news lie in the mail, and effects that are performed in any order, more
 * than once, or given up. Subclasses say what performing an effect does and brings.
 */
export abstract class ModelWorld<
  S,
  E extends { readonly type: string },
  F extends { readonly type: string },
> extends Driver<S, E | News, F> {
  readonly transfer = new ModelTransfer();

  abstract perform(effect: F): E | null;
  /** The request comes again. */
  abstract askAgain(): void;
  abstract stop(): void;
  /** Whether the world may refuse this effect for good. */
  abstract mayFail(effect: F): boolean;

  flush(): void {
    for (const pending of this.performable()) this.settle(pending, this.perform(pending.effect));
  }
  deliver(index = 0): void {
    const change = this.transfer.mail.splice(index, 1)[0];
    if (change) this.send({ type: 'transferNews', change });
  }
  deliverAll(): void {
    while (this.transfer.mail.length > 0) this.deliver();
  }

  /** Everything that can happen, happens in good order until the instance is done. */
  settleAll(): void {
    for (let i = 0; i < 2_000 && !(this.done && this.pending.length === 0); i++) {
      this.flush();
      this.deliverAll();
      this.transfer.act(3);
      if (this.pending.length === 0 && this.transfer.mail.length === 0 && this.wakeAt)
        this.now = new Date(Math.max(this.now.getTime(), this.wakeAt.getTime()));
      this.wakeIfDue();
    }
  }

  /** One arbitrary thing happens: `what` (0 to 14) chooses it, `pick` (0 to 9) its object. */
  happen(what: number, pick: number): void {
    if (what <= 4) return this.#handleEffect(what, pick);
    if (what <= 8) return this.#handleMail(what, pick);
    if (what <= 10) return this.transfer.act(pick);
    if (what === 11) return this.pass(pick * 3_000);
    if (what === 12) return this.wakeIfDue();
    if (what === 13) return pick > 7 ? this.stop() : undefined;
    this.askAgain();
  }

  #handleEffect(what: number, pick: number): void {
    const able = this.performable();
    const chosen = able[pick % Math.max(1, able.length)];
    if (!chosen) return;
    if (what <= 2) return this.settle(chosen, this.perform(chosen.effect));
    // Performed, yet the process died before that was known.
    if (what === 3) return void this.perform(chosen.effect);
    if (pick > 6 && this.mayFail(chosen.effect)) this.giveUp(chosen, refusal);
  }

  #handleMail(what: number, pick: number): void {
    const { mail } = this.transfer;
    const index = pick % Math.max(1, mail.length);
    const change = mail[index];
    if (what === 7 && change) return void this.send({ type: 'transferNews', change });
    if (what === 8) return void mail.splice(index, 1);
    this.deliver(index);
  }
}

export const refusal: FaultJson = new Fault('PLATFORM_TASK_FAILED', 'the platform refused').toJSON();
