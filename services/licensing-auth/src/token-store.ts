import { Fault, type ApiTokenId, type listApiTokens, type UserId } from '@casvault/contracts';
import { inTransaction, isUniqueViolation, pageFrom, readCursor, reading } from '@casvault/persistence';
import { IsNull, type DataSource } from 'typeorm';
import { type z } from 'zod';
import { apiTokenTable, sessionTable, type ApiTokenRow } from './token.table.js';

const viewOf = (row: ApiTokenRow) => ({
  id: row.id as ApiTokenId,
  name: row.name,
  createdAt: row.createdAt.toISOString(),
  expiresAt: row.expiresAt?.toISOString() ?? null,
  lastUsedAt: row.lastUsedAt?.toISOString() ?? null,
});

/** How exactly the last use of a token is known: one write a token in this time at the most. */
const lastUseGrainMs = 60_000;

/** Sessions and API tokens, by the hash of the secret that their holder has. */
export class TokenStore {
  constructor(private readonly database: DataSource) {}

  async addSession(session: {
    tokenHash: string;
    userId: UserId;
    createdAt: Date;
    expiresAt: Date;
  }): Promise<void> {
    await inTransaction(this.database, async (tx) => {
      await tx.query('DELETE FROM session WHERE expires_at < $1', [session.createdAt]);
      await tx.getRepository(sessionTable).insert(session);
    });
  }

  async removeSession(tokenHash: string): Promise<void> {
    await inTransaction(this.database, (tx) => tx.getRepository(sessionTable).delete({ tokenHash }));
  }

  /** Whose token it is, if it is valid now. */
  async holderOf(tokenHash: string, now: Date): Promise<{ userId: UserId; via: 'session' | 'token' } | null> {
    const rows = await reading(this.database, (source) =>
      source.query<{ user_id: UserId; via: 'session' | 'token'; id: string | null; stale: boolean }[]>(
        `SELECT user_id, 'session' AS via, NULL::uuid AS id, false AS stale
           FROM session WHERE token_hash = $1 AND expires_at > $2
         UNION ALL
         SELECT user_id, 'token', id, last_used_at IS NULL OR last_used_at < $3
           FROM api_token WHERE token_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)`,
        [tokenHash, now, new Date(now.getTime() - lastUseGrainMs)],
      ),
    );
    const [found] = rows;
    if (found === undefined) return null;
    if (found.stale)
      await inTransaction(this.database, (tx) =>
        tx.query('UPDATE api_token SET last_used_at = $2 WHERE id = $1', [found.id, now]),
      );
    return { userId: found.user_id, via: found.via };
  }

  /** ALREADY_EXISTS when the id was used before: a token is shown once. */
  async addApiToken(token: Omit<ApiTokenRow, 'lastUsedAt' | 'revokedAt'>): Promise<void> {
    try {
      await inTransaction(this.database, (tx) =>
        tx.getRepository(apiTokenTable).insert({ ...token, lastUsedAt: null, revokedAt: null }),
      );
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      throw new Fault('ALREADY_EXISTS', `API token ${token.id} was made already: its secret was shown then`);
    }
  }

  /** Newest first, without those that were revoked. */
  async page(request: z.output<typeof listApiTokens.request>) {
    const after = readCursor(request.cursor, 2);
    const rows = await reading(this.database, (source) => {
      const query = source
        .getRepository(apiTokenTable)
        .createQueryBuilder('t')
        .where('t.userId = :userId AND t.revokedAt IS NULL', { userId: request.userId })
        .orderBy({ 't.createdAt': 'DESC', 't.id': 'DESC' })
        .take(request.limit + 1);
      if (after) query.andWhere('(t.createdAt, t.id) < (:at, :id)', { at: after[0], id: after[1] });
      return query.getMany();
    });
    return pageFrom(rows, request.limit, (row) => [row.createdAt.toISOString(), row.id], viewOf);
  }

  async revoke(userId: UserId, id: ApiTokenId, now: Date): Promise<void> {
    const done = await inTransaction(this.database, (tx) =>
      tx.getRepository(apiTokenTable).update({ id, userId, revokedAt: IsNull() }, { revokedAt: now }),
    );
    if ((done.affected ?? 0) === 0) throw new Fault('NOT_FOUND', `there is no API token ${id} of this user`);
  }
}
