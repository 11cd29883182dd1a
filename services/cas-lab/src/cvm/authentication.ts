import { randomBytes } from 'node:crypto';
import { type UserRecord } from '../platform/state.js';
import {
  challenge,
  isRightAnswer,
  judgeNonce,
  makeNonce,
  parseAuthorization,
  type NonceVerdict,
} from '../rest/digest.js';

export interface SignedRequest {
  readonly method: string;
  readonly url: string;
  readonly authorization: string | undefined;
  readonly cookie: string | undefined;
}

export type SignIn =
  | { readonly user: UserRecord }
  /** The value of `WWW-Authenticate`. */
  | { readonly challenge: string };

const sessionCookie = 'JSESSIONID';
const sessionLifetimeMs = 30 * 60_000;
const maxSessions = 1000;

/** Who asks: by digest, or by the cookie of a session. Memory: at most a thousand sessions. */
export class Authentication {
  readonly #users: () => readonly UserRecord[];
  readonly #clock: () => Date;
  readonly #key = randomBytes(32);
  readonly #sessions = new Map<string, { user: UserRecord; until: number }>();

  constructor(users: () => readonly UserRecord[], clock: () => Date) {
    this.#users = users;
    this.#clock = clock;
  }

  signIn(request: SignedRequest, options: { qop: boolean }): SignIn {
    const bySession = this.#bySession(request.cookie);
    if (bySession) return { user: bySession };
    const answer = parseAuthorization(request.authorization ?? '');
    const verdict: NonceVerdict = answer ? judgeNonce(this.#key, answer.nonce, this.#clock()) : 'foreign';
    const user = this.#users().find((one) => one.name === answer?.username);
    const isRight = answer && user && isRightAnswer(answer, user.password, request);
    if (isRight && verdict === 'fresh') return { user };
    const stale = isRight === true && verdict === 'stale';
    return { challenge: challenge(makeNonce(this.#key, this.#clock()), { stale, qop: options.qop }) };
  }

  /** A session for the right name and password, as its `Set-Cookie`; null for wrong ones. */
  open(name: string, password: string): { user: UserRecord; id: string; setCookie: string } | null {
    const user = this.#users().find((one) => one.name === name && one.password === password);
    if (!user) return null;
    const id = randomBytes(16).toString('hex').toUpperCase();
    const [oldest] = this.#sessions.keys();
    if (this.#sessions.size >= maxSessions && oldest !== undefined) this.#sessions.delete(oldest);
    this.#sessions.set(id, { user, until: this.#clock().getTime() + sessionLifetimeMs });
    return { user, id, setCookie: `${sessionCookie}=${id}; Path=/cas; HttpOnly` };
  }

  #bySession(cookie: string | undefined): UserRecord | undefined {
    const id = new RegExp(`(?:^|;\\s*)${sessionCookie}=([0-9A-F]+)`).exec(cookie ?? '')?.[1];
    const session = id === undefined ? undefined : this.#sessions.get(id);
    return session && session.until > this.#clock().getTime() ? session.user : undefined;
  }
}
