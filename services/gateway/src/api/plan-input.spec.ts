import { createJob, type Problem } from '@casvault/contracts';
import { bearer, testGateway, type TestGateway } from '../testing/test-gateway.js';
import * as examples from './examples.js';

const hourly = { type: 'hourly', windowStart: '22:00', windowEnd: '04:00', every: 1, unit: 'hours' };
const daily = { type: 'daily', time: '02:00' };
const weekly = { type: 'weekly', time: '02:00', weekdays: ['sunday'] };
const monthly = { type: 'monthly', time: '02:00', months: [2], days: [29] };
const byWeek = { type: 'monthly', time: '02:00', months: [1], weeks: ['first'], weekdays: ['friday'] };
const full = { pointKind: 'full' };
const incremental = { pointKind: 'incremental' };

/** Plans at both ends of each range of the specification. */
const taken: readonly [string, readonly object[]][] = [
  ['immediate', [{ type: 'immediate' }]],
  ['by hand', [{ type: 'manual' }]],
  ['once', [{ type: 'once', at: '2030-01-01T02:00' }]],
  ['once, to the second', [{ type: 'once', at: '2030-01-01T02:00:59' }]],
  ['every hour', [hourly]],
  ['every 24 hours', [{ ...hourly, every: 24 }]],
  ['every minute', [{ ...hourly, every: 1, unit: 'minutes' }]],
  ['every 1440 minutes', [{ ...hourly, every: 1440, unit: 'minutes' }]],
  ['the whole day', [{ ...hourly, windowStart: '00:00', windowEnd: '23:59' }]],
  ['every day', [{ ...daily, everyDays: 1 }]],
  ['every 365 days', [{ ...daily, everyDays: 365, startDate: '2028-02-29' }]],
  ['every week', [{ ...weekly, everyWeeks: 1 }]],
  ['every 52 weeks', [{ ...weekly, everyWeeks: 52, weekdays: ['monday', 'sunday'] }]],
  ['the leap day', [monthly]],
  ['first and last days', [{ ...monthly, months: [1, 12], days: [1, 31, 'last'] }]],
  ['weekdays of weeks', [byWeek]],
  [
    'a pair',
    [
      { ...weekly, ...full },
      { ...daily, ...incremental },
    ],
  ],
];

const refused: readonly [string, readonly object[], string, RegExp][] = [
  ['no plan', [], 'plans', /Too small/],
  ['three plans', [daily, weekly, monthly], 'plans', /Too big/],
  ['an unknown type', [{ type: 'yearly' }], 'plans.0.type', /none of the allowed|Invalid/],
  ['a misspelt field', [{ ...daily, evryDays: 2 }], 'plans.0.evryDays', /not known here/],
  ['a zone in once', [{ type: 'once', at: '2030-01-01T02:00Z' }], 'plans.0.at', /without a zone/],
  ['no day of once', [{ type: 'once', at: '2030-02-29T02:00' }], 'plans.0.at', /local date and time/],
  ['24:00', [{ ...daily, time: '24:00' }], 'plans.0.time', /00:00 to 23:59/],
  ['0 hours', [{ ...hourly, every: 0 }], 'plans.0.every', />=1/],
  ['25 hours', [{ ...hourly, every: 25 }], 'plans.0.every', /1 to 24 hours/],
  ['1441 minutes', [{ ...hourly, every: 1441, unit: 'minutes' }], 'plans.0.every', /<=1440/],
  ['an empty window', [{ ...hourly, windowEnd: '22:00' }], 'plans.0.windowEnd', /must not be windowStart/],
  ['0 days', [{ ...daily, everyDays: 0 }], 'plans.0.everyDays', />=1/],
  ['366 days', [{ ...daily, everyDays: 366 }], 'plans.0.everyDays', /<=365/],
  ['no date', [{ ...daily, startDate: '2027-02-29' }], 'plans.0.startDate', /YYYY-MM-DD/],
  ['0 weeks', [{ ...weekly, everyWeeks: 0 }], 'plans.0.everyWeeks', />=1/],
  ['53 weeks', [{ ...weekly, everyWeeks: 53 }], 'plans.0.everyWeeks', /<=52/],
  ['no weekday', [{ ...weekly, weekdays: [] }], 'plans.0.weekdays', /Too small/],
  ['a weekday twice', [{ ...weekly, weekdays: ['monday', 'monday'] }], 'plans.0.weekdays', /twice/],
  ['month 0', [{ ...monthly, months: [0, 2] }], 'plans.0.months.0', />=1/],
  ['month 13', [{ ...monthly, months: [2, 13] }], 'plans.0.months.1', /<=12/],
  ['day 0', [{ ...monthly, days: [0] }], 'plans.0.days.0', /./],
  ['day 32', [{ ...monthly, days: [32] }], 'plans.0.days.0', /./],
  ['30 February', [{ ...monthly, days: [30, 31] }], 'plans.0.days', /none of these months/],
  ['days and weeks', [{ ...byWeek, days: [1] }], 'plans.0.days', /not both/],
  ['neither days nor weeks', [{ ...monthly, days: undefined }], 'plans.0.days', /required/],
  ['weeks without weekdays', [{ ...byWeek, weekdays: undefined }], 'plans.0.weekdays', /required/],
  ['two without kinds', [weekly, { ...daily, ...incremental }], 'plans.0.pointKind', /required/],
  [
    'two of one kind',
    [
      { ...weekly, ...full },
      { ...daily, ...full },
    ],
    'plans.1.pointKind',
    /other plan/,
  ],
  ['manual with another', [{ type: 'manual' }, { ...daily, ...full }], 'plans.0.type', /stands alone/],
];

describe('D7: plans of a request', () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await testGateway();
    gateway.services.on(createJob, examples.job);
  });
  afterAll(() => gateway.stop());

  const create = (plans: readonly object[]) =>
    gateway.app.inject({
      method: 'POST',
      url: '/api/v1/jobs',
      headers: bearer('operator'),
      payload: {
        name: 'x',
        definition: { kind: 'backup', vmIds: [examples.ids.vm], poolId: examples.ids.pool },
        plans,
      },
    });

  it.each(taken)('are taken: %s', async (_name, plans) => {
    const response = await create(plans);
    expect([response.statusCode, response.body.slice(0, 300)]).toEqual([201, expect.any(String)]);
    expect(gateway.services.last(createJob)?.plans).toMatchObject(plans);
  });

  it.each(refused)('are refused by name: %s', async (_name, plans, field, rule) => {
    const response = await create(plans);
    expect(response.statusCode).toBe(400);
    const { errors = [] } = response.json<Problem>();
    expect(errors.map((error) => error.field)).toContain(field);
    expect(errors.find((error) => error.field === field)?.rule).toMatch(rule);
  });
});
