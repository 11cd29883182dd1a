import { type SpeedLimit } from '@casvault/contracts';
import { type SpeedCells } from '@casvault/data-path';
import { ManualClock, TestLogger } from '@casvault/testkit';
import { Paces } from './paces.js';

describe('Paces', () => {
  const limits: SpeedLimit[] = [
    { from: '22:00', to: '23:00', rate: 1, unit: 'MiB/s', appliesTo: 'transfer' },
  ];

  it('gives one speed to transfers of one run, and another to those of another', async () => {
    const clock = new ManualClock('2026-01-01T20:59:59Z');
    const logger = new TestLogger();
    const monotonic = () => clock.now().getTime();
    const paces = new Paces({ clock, monotonic, timeZone: 'Europe/Berlin', logger });
    const given: (SpeedCells | undefined)[] = [];
    let finish: () => void = () => undefined;
    const finished = new Promise<void>((resolve) => (finish = resolve));
    const work = (speed: SpeedCells | undefined) => {
      given.push(speed);
      return finished;
    };
    const all = ['one', 'one', 'other'].map((key) => paces.keep(key, limits, work));
    expect(given[0]).toBe(given[1]);
    expect(given[2]).not.toBe(given[0]);
    expect(logger.lines).toEqual([]);
    await clock.advance(2_000);
    expect(logger.lines.map(({ fields }) => fields)).toEqual(
      ['one', 'other'].map((runId) => ({ runId, bytesPerSecond: { transfer: 1_048_576, disk: null } })),
    );
    finish();
    const ended = Promise.all(all);
    await clock.advance(1_000);
    await ended;
    await paces.keep('one', limits, async (speed) => expect(speed).not.toBe(given[0]));
  });

  it('gives none where there is no limit', async () => {
    const paces = new Paces({
      clock: new ManualClock(),
      monotonic: () => 0,
      timeZone: 'UTC',
      logger: new TestLogger(),
    });
    expect(await paces.keep('one', [], async (speed) => speed)).toBeUndefined();
  });
});
