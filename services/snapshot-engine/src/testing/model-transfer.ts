import {
  Fault,
  type TransferChanged,
  type TransferSpec,
  type Verified,
  type startTransfer,
} from '@casvault/contracts';
import { type z } from 'zod';

/** A data-mover with one transfer, as snapshot-engine sees it: what it publishes lies in `mail`, to be delivered in any order. */
export class ModelTransfer {
  readonly mail: TransferChanged[] = [];
  /** Distinct transfers that were ever asked for. */
  readonly ids = new Set<string>();
  present: TransferChanged | null = null;
  /** What was asked for first. */
  spec: TransferSpec | null = null;

  start(command: z.infer<typeof startTransfer.payload>): void {
    this.ids.add(command.transferId);
    this.spec ??= command.spec;
    if (this.present && command.stopAsked && !this.isOver) return this.stop();
    if (this.present) return void this.mail.push(this.present);
    this.present = {
      transferId: command.transferId,
      ownerId: command.ownerId,
      kind: command.spec.kind,
      state: command.stopAsked ? 'stopped' : 'queued',
      epoch: 0,
      capturedAt: null,
      progress: [],
      reasons: [],
      result: null,
      fault: null,
      at: '2026-01-01T00:00:00.000Z',
    };
    this.publish({});
  }

  stop(): void {
    if (this.present && !this.isOver) this.publish({ state: 'stopped' });
  }

  get isOver(): boolean {
    return this.present !== null && !['queued', 'running'].includes(this.present.state);
  }

  /** One step of its life; `pick` chooses where there is a choice. */
  act(pick: number): void {
    const { present } = this;
    if (!present || this.isOver) return;
    if (present.epoch === 0) return this.publish({ state: 'running', epoch: 1 });
    if (present.capturedAt === null) return this.publish({ capturedAt: present.at });
    if (present.progress.length === 0) return this.publish({ progress: [this.#disk(1)] });
    if (pick === 0) return this.publish({ state: 'queued', reasons: ['WORKER_LOST'] });
    if (pick === 1) return this.publish({ state: 'running', epoch: present.epoch + 1 });
    if (pick === 2) return this.publish({ state: 'failed', fault: new Fault('POOL_FULL', 'full').toJSON() });
    this.publish({
      state: 'succeeded',
      result: {
        disks: [{ ...this.#disk(2), sizeBytes: 2, mapRoot: 'cd', reasons: [], tracked: false }],
        poolBytes: 3,
        consistency: 'crash',
        capturedAt: present.capturedAt,
        method: 'live',
        reasons: [],
      },
    });
  }

  /** A verification's end. */
  verified(verified: Verified): void {
    const result = { disks: [], poolBytes: 0, capturedAt: null, method: 'write' as const, reasons: [] };
    this.publish({ state: 'succeeded', result: { ...result, consistency: 'crash', verified } });
  }

  #disk(doneBytes: number) {
    return { target: 'vda', totalBytes: 2, doneBytes, storedBytes: 1, resumedBytes: 0 };
  }

  private publish(news: Partial<TransferChanged>): void {
    if (!this.present) return;
    const at = new Date(Date.parse(this.present.at) + 1).toISOString();
    this.present = { ...this.present, ...news, at };
    this.mail.push(this.present);
  }
}
