import { jobDefinitionSchema, newId } from '@casvault/contracts';
import { openDatabase, provisionSchema, type Migration } from '@casvault/persistence';
import { startPostgres, TestLogger, type PostgresServer } from '@casvault/testkit';
import { migrations } from '../src/migrations.js';

/** Definitions as they were kept under earlier names. */
const ofVersion7 = {
  kind: 'backup',
  vmIds: [newId()],
  poolId: newId(),
  group: 'default',
  parallel: { vms: 3, vmsPerHost: 1 },
  pointKind: 'incremental',
  cbt: { enable: true, fallback: 'full' },
  powerOff: false,
  options: {
    compression: { mode: 'fast' },
    disksPerVm: 4,
    streamsPerDisk: 2,
    reconnectMinutes: 7,
    bufferKiB: 512,
  },
};
const { options } = ofVersion7;
const bareOfVersion7 = { ...ofVersion7, options: { compression: options.compression } };
const restoreOfVersion7 = {
  kind: 'restore',
  items: [{ pointId: newId(), target: {} }],
  group: 'default',
  parallel: { vms: 1, vmsPerHost: 1 },
  options,
};

describe('jobs and runs that were saved under earlier names', () => {
  let postgres: PostgresServer;
  let url: string;
  beforeAll(async () => {
    postgres = await startPostgres();
    url = await provisionSchema(postgres.adminUrl, 'scheduler', { rolePrefix: 'old' });
  });
  afterAll(() => postgres[Symbol.asyncDispose]());

  const upTo = (last: string): readonly Migration[] =>
    migrations.slice(0, migrations.findIndex(({ name }) => name === last) + 1);
  const open = (some: readonly Migration[]) =>
    openDatabase({ url, schema: 'scheduler', tables: [], migrations: some, logger: new TestLogger() });

  it('are read as what they meant', async () => {
    const old = await open(upTo('0007-log-runs'));
    for (const [index, definition] of [ofVersion7, bareOfVersion7, restoreOfVersion7].entries()) {
      const jobId = newId();
      const name = `job ${index}`;
      await old.query(
        `INSERT INTO job (id, name, definition, plans, enabled, created_at) VALUES ($1, $2, $3, '[]', true, now())`,
        [jobId, name, JSON.stringify(definition)],
      );
      await old.query(
        `INSERT INTO run (id, job_id, job_name, definition, state, item_count, created_at) VALUES ($1, $2, $3, $4, 'succeeded', 0, now())`,
        [newId(), jobId, name, JSON.stringify(definition)],
      );
    }
    await old.destroy();
    const present = await open(migrations);
    for (const [table, column] of [
      ['job', 'name'],
      ['run', 'job_name'],
    ] as const) {
      const rows = await present.query<{ definition: unknown }[]>(
        `SELECT definition FROM ${table} ORDER BY ${column}`,
      );
      const [full, bare, restore] = rows.map(({ definition }) => {
        const parsed = jobDefinitionSchema.parse(definition);
        expect(parsed).toEqual(definition);
        if (parsed.kind === 'verify' || parsed.kind === 'copy') throw new Error('there were no such jobs');
        return parsed;
      });
      expect(full?.parallel).toEqual({ vms: 3, vmsPerHost: 1, disksPerVm: 4, streamsPerDisk: 2 });
      expect(full?.options).toMatchObject({
        reconnect: { minutes: 7, bufferMiB: 10 },
        transport: { bufferKiB: 512, logLevel: 'info', connectMinutes: 10 },
      });
      expect(bare?.parallel).toEqual({ vms: 3, vmsPerHost: 1, disksPerVm: 1, streamsPerDisk: 1 });
      expect(bare?.options).toMatchObject({ reconnect: { minutes: 10 }, transport: { bufferKiB: 1024 } });
      expect(restore?.parallel).toEqual({
        vms: 1,
        vmsPerHost: 1,
        channels: 64,
        disksPerVm: 4,
        streamsPerDisk: 2,
      });
    }
    await present.destroy();
  });
});
