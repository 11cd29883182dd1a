import { readConfig } from '@casvault/service-host';
import { z } from 'zod';
import { schedulerShape } from './config.js';

const read = (env: Record<string, string>) => readConfig(z.object(schedulerShape), env);

describe('the configuration of the scheduler', () => {
  it('has the defaults that its README names', () => {
    expect(read({})).toEqual({
      CASVAULT_SCHEDULER_GROUP_RUNS: new Map(),
      CASVAULT_SCHEDULER_GRACE_MINUTES: 60,
      CASVAULT_SCHEDULER_HISTORY_DAYS: 365,
      CASVAULT_SCHEDULER_HISTORY_RUNS: 50,
    });
  });

  it.each([
    ['CASVAULT_SCHEDULER_GRACE_MINUTES', 0, 10_080],
    ['CASVAULT_SCHEDULER_HISTORY_DAYS', 1, 36_500],
    ['CASVAULT_SCHEDULER_HISTORY_RUNS', 1, 10_000],
  ] as const)('%s: %i to %i, refused by name outside it', (name, least, most) => {
    for (const value of [least, most]) expect(read({ [name]: String(value) })[name]).toBe(value);
    for (const value of [least - 1, most + 1, 1.5])
      expect(() => read({ [name]: String(value) })).toThrow(name);
  });

  it.each(['a', 'a=0', '=1', 'a=1000', 'a=1,'])('CASVAULT_SCHEDULER_GROUP_RUNS: refuses %j', (text) => {
    expect(() => read({ CASVAULT_SCHEDULER_GROUP_RUNS: text })).toThrow('groups with their limits');
  });

  it('R15: reads the limits of groups', () => {
    const limits = read({ CASVAULT_SCHEDULER_GROUP_RUNS: 'archive=1,fast=4' }).CASVAULT_SCHEDULER_GROUP_RUNS;
    expect([...limits]).toEqual([
      ['archive', 1],
      ['fast', 4],
    ]);
  });
});
