import fc from 'fast-check';
import { VirtualTime } from './virtual-time.js';

interface Clock {
  readonly set: (instant: number) => void;
  readonly clear: () => void;
}

/** What an alarm saves: every time taken back and entered anew. */
const enteredAnew = (time: VirtualTime, run: () => void): Clock => {
  let clear = (): void => undefined;
  return {
    clear: () => clear(),
    set: (instant) => {
      clear();
      clear = time.at(instant, run);
    },
  };
};

const deeds = fc.array(
  fc.record({ at: fc.nat(30), alarm: fc.nat(3), to: fc.option(fc.nat(40), { nil: null }) }),
  { maxLength: 40 },
);

/** Four alarms, and what sets and clears them when. */
const heard = async (
  plan: readonly { at: number; alarm: number; to: number | null }[],
  make: (time: VirtualTime, run: () => void) => Clock,
): Promise<readonly string[]> => {
  const time = new VirtualTime();
  const lines: string[] = [];
  const tell = (what: string) => lines.push(`${time.now} ${what}`);
  const alarms = [0, 1, 2, 3].map((number) => make(time, () => tell(`alarm ${number}`)));
  for (const { at, alarm, to } of plan)
    time.at(at, () => {
      tell(`sets ${alarm}`);
      if (to === null) alarms[alarm]?.clear();
      else alarms[alarm]?.set(to);
    });
  await time.run(20);
  tell('pause');
  await time.run(100);
  return lines;
};

describe('virtual time', () => {
  it('runs an alarm when, and after what, it would if it were entered anew each time', async () => {
    await fc.assert(
      fc.asyncProperty(deeds, async (plan) => {
        const anew = await heard(plan, enteredAnew);
        expect(await heard(plan, (time, run) => time.alarm(run))).toEqual(anew);
      }),
    );
  });

  it('lets every promise settle between two entries', async () => {
    const time = new VirtualTime();
    const lines: string[] = [];
    time.at(1, () => {
      void (async () => {
        for (let i = 0; i < 50; i += 1) await Promise.resolve();
        lines.push('first');
      })();
    });
    time.at(1, () => lines.push('second'));
    await time.run(2);
    expect(lines).toEqual(['first', 'second']);
  });
});
