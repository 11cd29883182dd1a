import { setTimeout as sleep } from 'node:timers/promises';

/** The password of the first administrator, as licensing-auth told it in its log; null: it did not. */
export const passwordIn = (log: string): string | null =>
  /^First administrator: admin {3}password: (\S+)$/m.exec(log)?.[1] ?? null;

const request = async (url: string, init: RequestInit, wanted: number): Promise<unknown> => {
  const answer = await fetch(url, { ...init, signal: AbortSignal.timeout(10_000) });
  const body = await answer.text();
  if (answer.status !== wanted)
    throw new Error(`${url}: ${answer.status}, want ${wanted}: ${body.slice(0, 300)}`);
  return JSON.parse(body) as unknown;
};

/** Asks again, once a second, until it is so; after `patienceMs` fails with the last reason. */
const eventually = async (patienceMs: number, attempt: () => Promise<void>): Promise<void> => {
  const end = performance.now() + patienceMs;
  for (;;)
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() >= end) throw error;
      await sleep(1_000);
    }
};

/**
 * A release works as far as can be seen without a platform: the gateway serves and has NATS, admin signs in (licensing-auth, Postgres), inventory and
 * the scheduler answer, and at least one mover is online. Tells each thing that it saw; throws at the first that is not so within `patienceMs`.
 */
export const smokeCheck = async (
  origin: string,
  password: string,
  tell: (line: string) => void,
  patienceMs: number,
): Promise<void> => {
  const api = `${origin}/api/v1`;
  await eventually(patienceMs, async () => void (await request(`${api}/healthz`, {}, 200)));
  tell('the gateway serves');
  const body = JSON.stringify({ userName: 'admin', password });
  const headers = { 'content-type': 'application/json' };
  const session = (await request(`${api}/sessions`, { method: 'POST', headers, body }, 201)) as {
    token: string;
  };
  tell('admin has signed in');
  const authorization = `Bearer ${session.token}`;
  for (const path of ['platforms', 'jobs', 'points']) {
    await request(`${api}/${path}`, { headers: { authorization } }, 200);
    tell(`GET /${path} is answered`);
  }
  await eventually(patienceMs, async () => {
    const hosts = (await request(`${api}/backup-hosts`, { headers: { authorization } }, 200)) as {
      items: { state: string }[];
    };
    if (!hosts.items.some(({ state }) => state === 'online')) throw new Error('no mover is online');
  });
  tell('a mover is online');
};
