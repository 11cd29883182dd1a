import { Fault, principalSchema, type Principal } from '@casvault/contracts';
import { ManualClock } from '@casvault/testkit';
import * as examples from '../api/examples.js';
import { Authenticator } from './authenticator.js';

const principal = principalSchema.parse(examples.principal);

describe('the authenticator', () => {
  const setUp = (answer: () => Promise<Principal>, maxEntries = 10) => {
    const clock = new ManualClock();
    const asked: string[] = [];
    const lookUp = (tokenHash: string): Promise<Principal> => {
      asked.push(tokenHash);
      return answer();
    };
    return { clock, asked, authenticator: new Authenticator({ lookUp, clock, maxEntries }) };
  };

  it('asks by the SHA-256 of the token alone', async () => {
    const { asked, authenticator } = setUp(async () => principal);
    const caller = await authenticator.authenticate('abc');
    expect(caller.principal).toEqual(principal);
    expect(asked).toEqual(['ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad']);
  });

  it('keeps an answer for ten seconds and no longer', async () => {
    const { clock, asked, authenticator } = setUp(async () => principal);
    await authenticator.authenticate('abc');
    await clock.advance(9_999);
    await authenticator.authenticate('abc');
    expect(asked).toHaveLength(1);
    await clock.advance(1);
    await authenticator.authenticate('abc');
    expect(asked).toHaveLength(2);
  });

  it('keeps no refusal', async () => {
    let known = false;
    const { authenticator } = setUp(async () => {
      if (!known) throw new Fault('UNAUTHENTICATED', 'not known');
      return principal;
    });
    await expect(authenticator.authenticate('abc')).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
    known = true;
    await expect(authenticator.authenticate('abc')).resolves.toMatchObject({ principal });
  });

  it('forgets the oldest beyond its bound', async () => {
    const { asked, authenticator } = setUp(async () => principal, 2);
    for (const token of ['a', 'b', 'c', 'b', 'c']) await authenticator.authenticate(token);
    expect(asked).toHaveLength(3);
    await authenticator.authenticate('a');
    expect(asked).toHaveLength(4);
  });
});
