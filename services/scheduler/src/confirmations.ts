import { Fault, needsConfirmation, type Clock, type JobDefinition, type JobId } from '@casvault/contracts';
import { inTransaction, type Transaction } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import {
  codeBytes,
  codeHash,
  codeOf,
  confirmationMs,
  missingCode,
  refuseCode,
  rememberedMs,
  requestHash,
  type Confirmation,
  type Submission,
} from './confirmation.rules.js';

export interface ConfirmationsOptions {
  readonly database: DataSource;
  readonly clock: Pick<Clock, 'now'>;
  /** So many bytes that nobody can foretell. */
  readonly random: (bytes: number) => Uint8Array;
}

type Submitted = Submission & { readonly definition: JobDefinition } & {
  readonly confirmation?: string | undefined;
};

/** F6: the codes with which restores are submitted, and backups that skip VMs silently are saved. Rows, so that a code holds for every replica, and is used up with the job or not at all. */
export class Confirmations {
  readonly #o: ConfirmationsOptions;

  constructor(options: ConfirmationsOptions) {
    this.#o = options;
  }

  /** A new code for exactly this request of this caller. */
  async issue(request: Submission, actor: string): Promise<{ code: string; expiresAt: string }> {
    const { database, clock, random } = this.#o;
    const now = clock.now();
    const code = codeOf(random(codeBytes));
    const expiresAt = new Date(now.getTime() + confirmationMs);
    await inTransaction(database, async (tx) => {
      const forgotten = new Date(now.getTime() - rememberedMs);
      await tx.query('DELETE FROM restore_confirmation WHERE expires_at < $1', [forgotten]);
      await tx.query(
        'INSERT INTO restore_confirmation (code_hash, actor, request_hash, expires_at) VALUES ($1, $2, $3, $4)',
        [codeHash(code), actor, requestHash(request), expiresAt],
      );
    });
    return { code, expiresAt: expiresAt.toISOString() };
  }

  /**
   * Uses the code of a job up, in the transaction that makes or edits its job. Throws why it is not good. Whoever comes second waits
   * for the first, and finds it used. Other jobs take none.
   */
  async redeem(tx: Transaction, request: Submitted, by: { actor: string; jobId: JobId }): Promise<void> {
    const { definition, confirmation: code } = request;
    if (!needsConfirmation(definition)) return refuseNeedless(code);
    if (code === undefined) throw missingCode();
    const found = await this.#hold(tx, code);
    const asked = { actor: by.actor, requestHash: requestHash(request) };
    const refusal = refuseCode(found, asked, this.#o.clock.now());
    if (refusal) throw refusal;
    await tx.query('UPDATE restore_confirmation SET job_id = $2 WHERE code_hash = $1', [
      codeHash(code),
      by.jobId,
    ]);
  }

  async #hold(tx: Transaction, code: string): Promise<Confirmation | null> {
    const [row] = await tx.query<Confirmation[]>(
      `SELECT actor, request_hash AS "requestHash", expires_at AS "expiresAt", job_id AS "jobId"
         FROM restore_confirmation WHERE code_hash = $1 FOR UPDATE`,
      [codeHash(code)],
    );
    return row ?? null;
  }
}

const refuseNeedless = (code: string | undefined): void => {
  if (code !== undefined)
    throw new Fault(
      'INPUT_INVALID',
      'confirmation: only a restore, or a backup that skips VMs silently, is submitted with a code (F6)',
      {
        details: { field: 'confirmation', reason: 'needless' },
      },
    );
};
