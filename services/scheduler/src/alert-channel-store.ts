import { Fault, type AlertChannel, type AlertChannelId, type PageRequest } from '@casvault/contracts';
import { pageFrom, readCursor, reading, type Transaction } from '@casvault/persistence';
import { type DataSource, type EntityManager } from 'typeorm';
import { viewOf, type StoredChannel } from './alert-channel.rules.js';

interface ChannelRow extends Omit<StoredChannel, 'createdAt'> {
  readonly createdAt: Date;
}

const columns = 'id, name, enabled, filter, settings, created_at AS "createdAt"';
const domainOf = (row: ChannelRow): StoredChannel => ({ ...row, createdAt: row.createdAt.toISOString() });

/** Where alerts are sent to; the secrets of the settings are sealed. */
export class AlertChannelStore {
  constructor(private readonly database: DataSource) {}

  /** The ids of all; channels are made one after the other, so that their number can be judged. */
  async holdAll(tx: Transaction): Promise<string[]> {
    await tx.query('LOCK TABLE alert_channel IN SHARE ROW EXCLUSIVE MODE');
    const rows = await tx.query<{ id: string }[]>('SELECT id FROM alert_channel');
    return rows.map(({ id }) => id);
  }

  async insert(tx: Transaction, channel: StoredChannel): Promise<void> {
    const { id, name, enabled, filter, settings, createdAt } = channel;
    await tx.query(
      'INSERT INTO alert_channel (id, name, enabled, filter, settings, created_at) VALUES ($1, $2, $3, $4, $5, $6)',
      [id, name, enabled, JSON.stringify(filter), JSON.stringify(settings), createdAt],
    );
  }

  async update(tx: Transaction, { id, name, enabled, filter, settings }: StoredChannel): Promise<void> {
    await tx.query(
      'UPDATE alert_channel SET name = $2, enabled = $3, filter = $4, settings = $5 WHERE id = $1',
      [id, name, enabled, JSON.stringify(filter), JSON.stringify(settings)],
    );
  }

  /** With its deliveries. NOT_FOUND when there is no such channel. */
  async remove(id: AlertChannelId): Promise<void> {
    const [, count] = await reading(this.database, (source) =>
      source.query<[unknown, number]>('DELETE FROM alert_channel WHERE id = $1', [id]),
    );
    if (count === 0) throw missing(id);
  }

  async get(id: AlertChannelId): Promise<StoredChannel> {
    return reading(this.database, (source) => this.#get(source, id, ''));
  }

  /** As `get`, and nobody changes it before the transaction ends. */
  async hold(tx: Transaction, id: AlertChannelId): Promise<StoredChannel> {
    return this.#get(tx, id, 'FOR UPDATE');
  }

  /** By name. */
  async page({ cursor, limit }: PageRequest): Promise<{ items: AlertChannel[]; nextCursor: string | null }> {
    const [name] = readCursor(cursor, 1) ?? [null];
    const rows = await reading(this.database, (source) =>
      source.query<ChannelRow[]>(
        `SELECT ${columns} FROM alert_channel WHERE $1::text IS NULL OR name > $1 ORDER BY name LIMIT $2`,
        [name, limit + 1],
      ),
    );
    return pageFrom(
      rows,
      limit,
      (row) => [row.name],
      (row) => viewOf(domainOf(row)),
    );
  }

  async #get(source: EntityManager, id: AlertChannelId, lock: '' | 'FOR UPDATE'): Promise<StoredChannel> {
    const sql = `SELECT ${columns} FROM alert_channel WHERE id = $1 ${lock}`;
    const [row] = await source.query<ChannelRow[]>(sql, [id]);
    if (!row) throw missing(id);
    return domainOf(row);
  }
}

const missing = (id: AlertChannelId): Fault => new Fault('NOT_FOUND', `there is no alert channel ${id}`);
