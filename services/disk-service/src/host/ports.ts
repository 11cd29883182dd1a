import { createServer } from 'node:net';
import { Fault } from '@casvault/contracts';

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/**
 * Hands out NBD ports of one range, round-robin, so that a port just freed is not taken again at once by another disk
 * while its last client still reconnects. Memory: one number per port in use.
 */
export class Ports {
  readonly #range: PortRange;
  /** Opening by port. */
  readonly #used = new Map<number, string>();
  readonly #isFree: (address: string, port: number) => Promise<boolean>;
  #next: number;

  constructor(range: PortRange, isFree: (address: string, port: number) => Promise<boolean> = canListen) {
    this.#range = range;
    this.#next = range.first;
    this.#isFree = isFree;
  }

  /** Counts a port as taken: one of an opening found at start. */
  claim(owner: string, port: number): void {
    this.#used.set(port, owner);
  }

  /** Frees the port, or all ports, of `owner`; those of others stay, so that it is safe to repeat. */
  release(owner: string, port?: number): void {
    for (const [used, by] of this.#used) {
      if (by === owner && (port === undefined || port === used)) this.#used.delete(used);
    }
  }

  /** A port that nobody listens on. Throws DISK_SERVICE_REFUSED when the whole range is taken. */
  async take(owner: string, address: string): Promise<number> {
    const { first, last } = this.#range;
    for (let tried = first; tried <= last; tried++) {
      const port = this.#next;
      this.#next = port === last ? first : port + 1;
      if (this.#used.has(port)) continue;
      this.#used.set(port, owner);
      if (await this.#isFree(address, port)) return port;
      this.#used.delete(port);
    }
    throw new Fault(
      'DISK_SERVICE_REFUSED',
      `no free NBD port on ${address} in ${String(first)}-${String(last)}: close openings or widen the range`,
      { details: { address, firstPort: first, lastPort: last } },
    );
  }
}

/** Says whether `port` can be listened on now. Another process may take it next: the caller tries the next one then. */
async function canListen(address: string, port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => {
      resolve(false);
    });
    server.listen({ host: address, port, exclusive: true }, () => {
      server.close(() => {
        resolve(true);
      });
    });
  });
}
