import { createJob, previewBackup, previewRestore, type Problem } from '@casvault/contracts';
import { bearer, testGateway, type TestGateway } from '../testing/test-gateway.js';
import { copyJob } from './copy-examples.js';
import * as examples from './examples.js';
import { verifyJob } from './verification-examples.js';

const window = { from: '08:00', to: '18:00', rate: 64, unit: 'KiB/s', appliesTo: 'transfer' };

/** A field of a definition by its path, the values at both ends of its range, and those beyond it with what the refusal says. */
interface Option {
  readonly field: string;
  readonly taken: readonly unknown[];
  readonly refused: readonly (readonly [value: unknown, rule: RegExp])[];
  /** Where the refusal points, if deeper than the field. */
  readonly at?: string;
}

const whole = (field: string, least: number, most: number): Option => ({
  field,
  taken: [least, most],
  refused: [
    [least - 1, new RegExp(`>=${least}`)],
    [most + 1, new RegExp(`<=${most}`)],
    [least + 0.5, /int/],
  ],
});

const command = { type: 'command', script: 'ready.sh' };
const check = { type: 'http', url: 'https://erp.example.org:8443/ready?full' };
const tooLong = 'x'.repeat(1_025);

/** What a script is named and given, inside a command or a script. */
const commandOptions = (field: string, value: object, most: number): readonly Option[] => [
  {
    field,
    taken: [
      { ...value, script: 'a' },
      { ...value, script: `${'x'.repeat(124)}.sh_` },
      { ...value, arguments: Array<string>(32).fill('; rm -rf / $(id)') },
      { ...value, timeoutSeconds: 1 },
      { ...value, timeoutSeconds: most },
    ],
    refused: ['../up', '/bin/sh', 'a/b', '.hidden', '-x', 'a b', 'a;b', 'a\n', '', 'x'.repeat(129)].map(
      (script) => [{ ...value, script }, /bare name/],
    ),
    at: `${field}.script`,
  },
  {
    field,
    taken: [],
    refused: [
      [{ ...value, timeoutSeconds: 0 }, />=1/],
      [{ ...value, timeoutSeconds: most + 1 }, new RegExp(`<=${most}`)],
    ],
    at: `${field}.timeoutSeconds`,
  },
  {
    field,
    taken: [],
    refused: [
      [{ ...value, arguments: [tooLong] }, /1024/],
      [{ ...value, arguments: ['a\u0000b'] }, /control/],
    ],
    at: `${field}.arguments.0`,
  },
  {
    field,
    taken: [],
    refused: [[{ ...value, arguments: Array<string>(33).fill('x') }, /<=32/]],
    at: `${field}.arguments`,
  },
];

/** D10: around the runs of backups and restores. */
const hooks: readonly Option[] = [
  {
    field: 'precondition',
    taken: [command, check, { ...check, method: 'HEAD', expectStatus: [200, 599], timeoutSeconds: 600 }],
    refused: [[{ type: 'shell', script: 'ready.sh' }, /command/]],
    at: 'precondition.type',
  },
  ...commandOptions('precondition', command, 600),
  {
    field: 'precondition',
    taken: [],
    refused: [
      'ftp://erp/x',
      'file:///etc/passwd',
      'http://user:secret@erp/',
      'http://erp/#x',
      'erp/ready',
    ].map((url) => [{ ...check, url }, /http or https URL/]),
    at: 'precondition.url',
  },
  {
    field: 'precondition',
    taken: [],
    refused: [
      [{ ...check, expectStatus: [199] }, />=200/],
      [{ ...check, expectStatus: [600] }, /<=599/],
    ],
    at: 'precondition.expectStatus.0',
  },
  ...commandOptions('scripts.pre', { script: 'freeze.sh' }, 3_600),
  ...commandOptions('scripts.post', { script: 'thaw.sh' }, 3_600),
];

/** Of backups and restores alike. */
const shared: readonly Option[] = [
  whole('parallel.vms', 1, 32),
  whole('parallel.vmsPerHost', 1, 10),
  whole('parallel.disksPerVm', 1, 5),
  whole('parallel.streamsPerDisk', 1, 5),
  whole('options.reconnect.minutes', 1, 60),
  whole('options.reconnect.bufferMiB', 1, 1_024),
  whole('options.transport.connectMinutes', 1, 10),
  {
    field: 'options.transport.bufferKiB',
    taken: [64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192],
    refused: [
      [32, /64/],
      [96, /64/],
      [16_384, /8192/],
    ],
  },
  {
    field: 'options.transport.logLevel',
    taken: ['info', 'warn', 'error'],
    refused: [['debug', /info/]],
  },
  {
    field: 'network.preferred',
    taken: ['auto', 'backup', 'storage', 'management'],
    refused: [['business', /auto/]],
  },
  {
    field: 'options.speedLimit',
    taken: [[], [window], [window, { ...window, appliesTo: 'disk', rate: 1_024, unit: 'GiB/s' }]],
    refused: [[[window, { ...window, from: '17:59', to: '19:00' }], /overlaps 08:00-18:00/]],
    at: 'options.speedLimit.1',
  },
  {
    field: 'options.speedLimit.0',
    taken: [{ ...window, from: '22:00', to: '06:00' }],
    refused: [[{ ...window, rate: 63 }, /64/]],
    at: 'options.speedLimit.0.rate',
  },
];

const ofBackups: readonly Option[] = [
  {
    field: 'options.compression',
    taken: [
      { mode: 'none' },
      { mode: 'fast' },
      { mode: 'adjustable', level: 1 },
      { mode: 'adjustable', level: 19 },
    ],
    refused: [
      [{ mode: 'adjustable', level: 0 }, />=1/],
      [{ mode: 'adjustable', level: 20 }, /<=19/],
    ],
    at: 'options.compression.level',
  },
  { field: 'cbt.enable', taken: [true, false], refused: [['yes', /boolean/]] },
  {
    field: 'cbt.fallback',
    taken: ['full', 'skip-alert', 'skip-silent'],
    refused: [['skip', /skip-alert/]],
  },
  { field: 'pointKind', taken: ['full', 'incremental'], refused: [['differential', /incremental/]] },
  { field: 'powerOff', taken: [true, false], refused: [[1, /boolean/]] },
  whole('retry.count', 0, 10),
  whole('retry.intervalMinutes', 0, 120),
  {
    field: 'reserve.freePercent',
    taken: [0, 12.5, 100, null],
    refused: [
      [-1, />=0/],
      [101, /<=100/],
    ],
  },
  { field: 'reserve.freeGiB', taken: [0, 1_000_000, null], refused: [[-1, />=0/]] },
  { field: 'hostIds', taken: [[examples.ids.host]], refused: [[['cvk1'], /UUID/]], at: 'hostIds.0' },
];

const ofRestores: readonly Option[] = [
  whole('parallel.channels', 1, 64),
  { field: 'items.0.poolId', taken: [examples.ids.otherPool], refused: [['pool', /UUID/]] },
];

/** E8. */
const ofVerifications: readonly Option[] = [
  { field: 'points', taken: ['all', 'newest'], refused: [['some', /newest/]] },
  whole('mostPoints', 1, 10_000),
  { field: 'depth', taken: ['stored', 'content'], refused: [['deep', /content/]] },
  whole('parallel.points', 1, 32),
];

/** E7. */
const ofCopies: readonly Option[] = [
  { field: 'points', taken: ['all', 'newest'], refused: [['some', /newest/]] },
  whole('mostPoints', 1, 10_000),
  whole('parallel.points', 1, 32),
  { field: 'poolId', taken: [], refused: [[examples.ids.pool, /must not be sourcePoolId/]] },
];

const set = (value: object, [first = '', ...rest]: readonly string[], to: unknown): object => {
  const inner = (value as Record<string, object | undefined>)[first];
  const next = rest.length === 0 ? to : set(inner ?? (/^\d+$/.test(rest[0] ?? '') ? [] : {}), rest, to);
  return Array.isArray(value) ? [next] : { ...value, [first]: next };
};

describe('the options of a job, as the API takes them', () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await testGateway();
    gateway.services.on(createJob, examples.job);
    gateway.services.on(previewRestore, examples.restorePreview);
  });
  afterAll(() => gateway.stop());

  const post = (url: string, payload: object) =>
    gateway.app.inject({ method: 'POST', url: `/api/v1${url}`, headers: bearer('operator'), payload });
  const backup = (field: string, value: unknown) => {
    const { name, definition, plans } = examples.job;
    return post('/jobs', { name, plans, definition: set(definition, field.split('.'), value) });
  };
  const verification = (field: string, value: unknown) => {
    const { name, definition, plans } = verifyJob;
    return post('/jobs', { name, plans, definition: set(definition, field.split('.'), value) });
  };
  const copy = (field: string, value: unknown) => {
    const { name, definition, plans } = copyJob;
    return post('/jobs', { name, plans, definition: set(definition, field.split('.'), value) });
  };
  const restore = (field: string, value: unknown) => {
    const { definition } = examples.restoreRequest;
    const changed = set(definition, field.split('.'), value);
    return post('/restores/preview', { ...examples.restoreRequest, definition: changed });
  };

  const hold =
    (
      ask: (field: string, value: unknown) => ReturnType<typeof backup>,
      { field, taken, refused, at = field }: Option,
    ) =>
    async (): Promise<void> => {
      for (const value of taken)
        expect([value, (await ask(field, value)).statusCode < 300]).toEqual([value, true]);
      for (const [value, rule] of refused) {
        const response = await ask(field, value);
        expect([value, response.statusCode]).toEqual([value, 400]);
        const { errors } = JSON.parse(response.body) as Problem;
        expect(errors).toEqual([
          expect.objectContaining({ field: `definition.${at}`, rule: expect.stringMatching(rule) as string }),
        ]);
      }
    };

  const nameOf = ({ field, at = field }: Option): string => (at === field ? field : `${field} (${at})`);
  for (const option of [...shared, ...hooks, ...ofBackups])
    it(`${nameOf(option)} of a backup: its range, and nothing beyond it`, hold(backup, option));
  for (const option of [...shared, ...hooks, ...ofRestores])
    it(`${nameOf(option)} of a restore: its range, and nothing beyond it`, hold(restore, option));
  for (const option of ofVerifications)
    it(`${nameOf(option)} of a verification: its range, and nothing beyond it`, hold(verification, option));
  for (const option of ofCopies)
    it(`${nameOf(option)} of a copy: its range, and nothing beyond it`, hold(copy, option));

  it('cbt.fallback: skip-silent is previewed, and its code handed over with the job', async () => {
    gateway.services.on(previewBackup, examples.backupPreview);
    const told = await post('/backups/preview', examples.silentBackup);
    expect([told.statusCode, told.json()]).toEqual([200, examples.backupPreview]);
    expect(gateway.services.last(previewBackup)?.definition.cbt).toEqual({
      enable: true,
      fallback: 'skip-silent',
    });
    const { code: confirmation } = examples.backupPreview.confirmation;
    expect((await post('/jobs', { ...examples.silentBackup, confirmation })).statusCode).toBe(201);
    expect(gateway.services.last(createJob)?.confirmation).toBe(confirmation);
    expect((await post('/backups/preview', examples.restoreRequest)).statusCode).toBe(400);
  });

  it('have the channels of the specification where a restore names none', async () => {
    const { definition } = examples.restoreRequest;
    await post('/restores/preview', examples.restoreRequest);
    expect(definition.parallel).not.toHaveProperty('channels');
    expect(gateway.services.last(previewRestore)?.definition.parallel).toMatchObject({ channels: 2 });
  });

  it('have the time limits that are documented where a script names none, and no arguments', async () => {
    const { name, plans, definition } = examples.job;
    const scripts = { pre: { script: 'freeze.sh' }, post: { script: 'thaw.sh' } };
    await post('/jobs', { name, plans, definition: { ...definition, precondition: command, scripts } });
    const usual = { arguments: [], timeoutSeconds: 300 };
    expect(gateway.services.last(createJob)?.definition).toMatchObject({
      precondition: { ...command, arguments: [], timeoutSeconds: 60 },
      scripts: { pre: { ...scripts.pre, ...usual }, post: { ...scripts.post, ...usual } },
    });
    await post('/jobs', { name, plans, definition: { ...definition, precondition: check } });
    expect(gateway.services.last(createJob)?.definition).toMatchObject({
      precondition: { ...check, method: 'GET', timeoutSeconds: 60 },
    });
  });

  it('have the defaults of the specification', async () => {
    const { name, plans, definition } = examples.job;
    const { kind, vmIds, poolId } = definition;
    await post('/jobs', { name, plans, definition: { kind, vmIds, poolId } });
    expect(gateway.services.last(createJob)?.definition).toEqual({
      kind,
      vmIds,
      poolId,
      group: 'default',
      pointKind: 'incremental',
      parallel: { vms: 2, vmsPerHost: 2, disksPerVm: 1, streamsPerDisk: 1 },
      cbt: { enable: true, fallback: 'full' },
      powerOff: false,
      hostIds: [],
      excludedVmIds: [],
      reserve: { freePercent: 10, freeGiB: 500 },
      retry: { count: 3, intervalMinutes: 10 },
      network: { preferred: 'auto' },
      options: {
        compression: { mode: 'fast' },
        reconnect: { minutes: 10, bufferMiB: 10 },
        speedLimit: [],
        transport: { bufferKiB: 1024, logLevel: 'info', connectMinutes: 10 },
      },
    });
  });
});
