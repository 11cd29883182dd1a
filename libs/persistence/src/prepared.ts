import pg from 'pg';

/** Statements that a connection keeps prepared: about 20 KiB of the server's memory for each. */
const mostPrepared = 256;
/** Longer texts are made for one occasion, as an insert of many rows. */
const longestText = 4_096;

/**
 * The name under which a statement with parameters is prepared once on each connection, so that the server parses and plans it no
 * more for every call; null for what is not worth one. Statements are told apart by their texts, so values must not be written into them.
 */
export class StatementNames {
  readonly #names = new Map<string, string>();

  of(text: string): string | null {
    const known = this.#names.get(text);
    if (known !== undefined) return known;
    if (text.length > longestText || this.#names.size >= mostPrepared) return null;
    const name = `casvault-${this.#names.size + 1}`;
    this.#names.set(text, name);
    return name;
  }
}

type Query = (...args: unknown[]) => unknown;

/** A client for a pool whose connections all prepare by the same names. Plans follow the statistics of tables, as others do. */
export const preparingClient = (names: StatementNames): typeof pg.Client =>
  class extends pg.Client {
    constructor(config?: string | pg.ClientConfig) {
      super(config);
      const query = this.query.bind(this) as Query;
      const prepared: Query = (text, values, ...rest) => {
        const name = typeof text === 'string' && Array.isArray(values) ? names.of(text) : null;
        return name === null
          ? query(text, values, ...rest)
          : query({ name, text, values }, undefined, ...rest);
      };
      Object.assign(this, { query: prepared });
    }
  };
