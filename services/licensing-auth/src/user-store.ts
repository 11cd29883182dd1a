import { type Role, type UserId } from '@casvault/contracts';
import { inTransaction, reading, type Transaction } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { forgetFailuresAfterMs, waitBeforeSignIn } from './throttle.rules.js';
import { userTable, type UserRow } from './user.table.js';

export interface User {
  readonly id: UserId;
  readonly name: string;
  readonly passwordHash: string;
  readonly roles: Role[];
}

const domainOf = ({ id, name, passwordHash, roles }: UserRow): User => ({
  id: id as UserId,
  name,
  passwordHash,
  roles,
});

/** Users, and the failed sign-ins that slow a guesser down. */
export class UserStore {
  constructor(private readonly database: DataSource) {}

  /** Names differ by more than case. */
  async findByName(name: string): Promise<User | null> {
    const row = await reading(this.database, (source) =>
      source
        .getRepository(userTable)
        .createQueryBuilder('u')
        .where('lower(u.name) = lower(:name)', { name })
        .getOne(),
    );
    return row && domainOf(row);
  }

  async find(id: UserId): Promise<User | null> {
    const row = await reading(this.database, (source) => source.getRepository(userTable).findOneBy({ id }));
    return row && domainOf(row);
  }

  /** Adds the first user, if there is none yet: `announce` is awaited before the row is committed. True if it was added. */
  async addFirst(user: User & { createdAt: Date }, announce: () => Promise<void>): Promise<boolean> {
    return inTransaction(this.database, async (tx) => {
      await tx.query("SELECT pg_advisory_xact_lock(hashtext('casvault-first-user'))");
      if ((await tx.getRepository(userTable).count()) > 0) return false;
      await tx.getRepository(userTable).insert(user);
      await announce();
      return true;
    });
  }

  /**
   * Counts a sign-in as failed before it is tried, unless it must wait: then returns how long (ms), and counts nothing.
   * Under a lock, so that guesses sent all at once are no better than guesses one by one.
   */
  async beginSignIn(subjects: readonly string[], now: Date): Promise<number> {
    const sorted = [...subjects].sort();
    return inTransaction(this.database, async (tx) => {
      await forget(tx, new Date(now.getTime() - forgetFailuresAfterMs));
      await tx.query(
        `INSERT INTO sign_in_failure (subject, failures, last_at) SELECT unnest($1::text[]), 0, $2
         ON CONFLICT DO NOTHING`,
        [sorted, now],
      );
      const rows = await tx.query<{ failures: number; last_at: Date }[]>(
        `SELECT failures, last_at FROM sign_in_failure WHERE subject = ANY($1) ORDER BY subject FOR UPDATE`,
        [sorted],
      );
      const failures = rows.map((row) => ({ count: row.failures, lastAt: row.last_at }));
      const waitMs = waitBeforeSignIn(failures, now);
      if (waitMs <= 0)
        await tx.query(
          'UPDATE sign_in_failure SET failures = failures + 1, last_at = $2 WHERE subject = ANY($1)',
          [sorted, now],
        );
      return waitMs;
    });
  }

  /** It succeeded: the name starts anew, the address gets its one try back. */
  async endSignIn(byName: string, byAddress: string): Promise<void> {
    await inTransaction(this.database, async (tx) => {
      await tx.query(
        `UPDATE sign_in_failure SET failures = CASE subject WHEN $1 THEN 0 ELSE greatest(failures - 1, 0) END
         WHERE subject IN (SELECT subject FROM sign_in_failure WHERE subject IN ($1, $2) ORDER BY subject FOR UPDATE)`,
        [byName, byAddress],
      );
      await tx.query('DELETE FROM sign_in_failure WHERE subject IN ($1, $2) AND failures = 0', [
        byName,
        byAddress,
      ]);
    });
  }
}

const forget = (tx: Transaction, before: Date): Promise<unknown> =>
  tx.query('DELETE FROM sign_in_failure WHERE last_at < $1', [before]);
