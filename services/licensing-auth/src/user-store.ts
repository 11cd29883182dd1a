import { type Role, type UserId } from '@casvault/contracts';
import { inTransaction, reading, type Transaction } from '@casvault/persistence';
import { type DataSource } from 'typeorm';
import { type Failures } from './throttle.rules.js';
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

  async failuresOf(subjects: readonly string[]): Promise<Failures[]> {
    const rows = await reading(this.database, (source) =>
      source.query<{ failures: number; last_at: Date }[]>(
        'SELECT failures, last_at FROM sign_in_failure WHERE subject = ANY($1)',
        [subjects],
      ),
    );
    return rows.map((row) => ({ count: row.failures, lastAt: row.last_at }));
  }

  async recordFailure(subjects: readonly string[], now: Date, forgottenBefore: Date): Promise<void> {
    await inTransaction(this.database, async (tx) => {
      await forget(tx, forgottenBefore);
      await tx.query(
        `INSERT INTO sign_in_failure (subject, failures, last_at) SELECT unnest($1::text[]), 1, $2
         ON CONFLICT (subject) DO UPDATE SET failures = sign_in_failure.failures + 1, last_at = excluded.last_at`,
        [[...subjects].sort(), now],
      );
    });
  }

  async clearFailures(subject: string): Promise<void> {
    await inTransaction(this.database, (tx) =>
      tx.query('DELETE FROM sign_in_failure WHERE subject = $1', [subject]),
    );
  }
}

const forget = (tx: Transaction, before: Date): Promise<unknown> =>
  tx.query('DELETE FROM sign_in_failure WHERE last_at < $1', [before]);
