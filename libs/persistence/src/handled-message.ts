import { type Transaction } from './database.js';

/**
 * Records that `scope` handles this message, in the transaction of its effect. False: it was handled before, and the
 * transaction has nothing more to do. Records are kept for a week.
 */
export const firstTime = async (tx: Transaction, scope: string, messageId: string): Promise<boolean> => {
  const rows = await tx.query<unknown[]>(
    'INSERT INTO handled_message (scope, message_id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1 AS one',
    [scope, messageId],
  );
  return rows.length > 0;
};
