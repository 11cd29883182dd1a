import { createHash } from 'node:crypto';
import type { Clock, Principal } from '@casvault/contracts';
import type { Caller } from '../api/route.js';

export interface AuthenticatorOptions {
  /** Asks licensing-auth. */
  readonly lookUp: (tokenHash: string) => Promise<Principal>;
  readonly clock: Clock;
  /** How long an answer holds, and with it the longest life of a revoked token here. */
  readonly maxAgeMs?: number;
  /** Memory: entries x about 1 KiB. */
  readonly maxEntries?: number;
}

interface Entry {
  readonly principal: Promise<Principal>;
  readonly until: number;
}

/**
 * Tells who holds a token. Only the hash leaves this process; answers are kept for a short time, refusals are not. Requests
 * with one token at the same time ask once.
 */
export class Authenticator {
  private readonly entries = new Map<string, Entry>();
  private readonly maxAgeMs: number;
  private readonly maxEntries: number;

  constructor(private readonly options: AuthenticatorOptions) {
    this.maxAgeMs = options.maxAgeMs ?? 10_000;
    this.maxEntries = options.maxEntries ?? 1024;
  }

  async authenticate(token: string): Promise<Caller> {
    const tokenHash = createHash('sha256').update(token).digest('hex');
    return { tokenHash, principal: await this.principalOf(tokenHash) };
  }

  /** The next request with this token asks again. */
  forget(tokenHash: string): void {
    this.entries.delete(tokenHash);
  }

  private principalOf(tokenHash: string): Promise<Principal> {
    const now = this.options.clock.now().getTime();
    const known = this.entries.get(tokenHash);
    if (known !== undefined && known.until > now) return known.principal;
    const entry = { principal: this.options.lookUp(tokenHash), until: now + this.maxAgeMs };
    this.entries.delete(tokenHash);
    this.entries.set(tokenHash, entry);
    this.dropOldest();
    entry.principal.catch(() => {
      if (this.entries.get(tokenHash) === entry) this.entries.delete(tokenHash);
    });
    return entry.principal;
  }

  /** Entries stand in the order of their age. */
  private dropOldest(): void {
    for (const tokenHash of this.entries.keys()) {
      if (this.entries.size <= this.maxEntries) return;
      this.entries.delete(tokenHash);
    }
  }
}
