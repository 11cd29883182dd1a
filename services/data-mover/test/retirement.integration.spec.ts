import { newId, type BackupHostId, type RunItemId, type TransferId } from '@casvault/contracts';
import { openDatabase, provisionSchema } from '@casvault/persistence';
import { startPostgres, testClock, TestLogger, type PostgresServer } from '@casvault/testkit';
import { type DataSource } from 'typeorm';
import { TransferStore } from '../src/controller/transfer-store.js';
import { Transfers, transferMachines } from '../src/controller/transfers.js';
import { dataMoverDatabase } from '../src/data-source.js';
import { RetirementStore } from '../src/scaler/retirement-store.js';
import { restoreSpec } from './running-controller.js';

const group = 'default';

describe('retirements of movers in Postgres', () => {
  let postgres: PostgresServer;
  let database: DataSource;
  let transfers: Transfers;
  let retirements: RetirementStore;

  beforeAll(async () => {
    postgres = await startPostgres();
    const url = await provisionSchema(postgres.adminUrl, 'data-mover', {
      rolePrefix: `t${newId().slice(0, 8)}`,
    });
    database = await openDatabase({
      ...dataMoverDatabase,
      url,
      schema: 'data_mover',
      logger: new TestLogger(),
    });
    const store = new TransferStore(database);
    const nothing = async (): Promise<void> => undefined;
    transfers = new Transfers({
      client: { publish: nothing },
      queue: { publishNudge: nothing },
      machines: transferMachines(database, store),
      store,
      clock: testClock,
      logger: new TestLogger(),
    });
    retirements = new RetirementStore(database);
  });
  afterAll(async () => {
    await database.destroy();
    await postgres[Symbol.asyncDispose]();
  });
  afterEach(() => database.query('DELETE FROM mover_retirement'));

  const queued = async (): Promise<TransferId> => {
    const transferId = newId<TransferId>();
    await transfers.begin({ transferId, ownerId: newId<RunItemId>(), group, spec: restoreSpec() });
    return transferId;
  };
  const mover = (name = 'a') => ({ pod: `pod-${name}`, workerId: newId<BackupHostId>() });
  const retires = 'retires: the transfer is for another';

  it('refuses the claims of a worker that retires, and lets others claim; taken back, it claims again', async () => {
    const [retiring, other] = [mover('a'), mover('b')];
    expect(await retirements.retire(group, [retiring])).toMatchObject({ pods: ['pod-a'] });
    const [one, two] = [await queued(), await queued()];
    await expect(transfers.claim(one, retiring.workerId)).rejects.toThrow(retires);
    expect(await transfers.claim(one, other.workerId)).toMatchObject({ outcome: 'claimed', epoch: 1 });
    await retirements.takeBack(group);
    expect(await transfers.claim(two, retiring.workerId)).toMatchObject({ outcome: 'claimed', epoch: 1 });
  });

  it('retires no worker with a claim, and counts it as busy', async () => {
    const [busy, idle] = [mover('a'), mover('b')];
    await transfers.claim(await queued(), busy.workerId);
    const attempt = await retirements.retire(group, [busy, idle]);
    expect(attempt?.pods).toEqual(['pod-b']);
    const work = await retirements.read(group);
    expect(work.busy.has(busy.workerId)).toBe(true);
    expect(work.busy.has(idle.workerId)).toBe(false);
    expect(work.transfers).toBeGreaterThan(0);
  });

  it('keeps two leaders apart: one attempt at a time, and none commits what another took back', async () => {
    const first = await retirements.retire(group, [mover('a')]);
    expect(await retirements.retire(group, [mover('b')])).toBeNull();
    await retirements.takeBack(group);
    expect(await retirements.commit(group, first?.number ?? 0, 1)).toBe(false);
    const second = await retirements.retire(group, [mover('c')]);
    expect(second?.number).toBeGreaterThan(first?.number ?? Infinity);
    expect(await retirements.commit(group, second?.number ?? 0, 1)).toBe(true);
    await retirements.takeBack(group);
    const { retirements: kept } = await retirements.read(group);
    expect(kept).toEqual([{ pod: 'pod-c', state: 'lowering', number: second?.number }]);
    expect(await retirements.renumber(group)).toBeGreaterThan(second?.number ?? Infinity);
    await retirements.forget(group, kept);
    expect((await retirements.read(group)).retirements).toEqual([]);
  });

  it('lets a racing claim or retirement win, never both', async () => {
    const won = { claim: 0, retirement: 0 };
    for (let round = 0; round < 60; round++) {
      const worker = mover(String(round));
      const transferId = await queued();
      const claiming = transfers.claim(transferId, worker.workerId).then(
        ({ outcome }) => outcome === 'claimed',
        () => false,
      );
      const retiring = retirements.retire(group, [worker]).then((attempt) => attempt?.pods.length === 1);
      const [claimed, retired] = await Promise.all([claiming, retiring]);
      expect([claimed, retired].filter(Boolean)).toHaveLength(1);
      if (claimed) won.claim += 1;
      else won.retirement += 1;
      await retirements.takeBack(group);
    }
    expect(won.claim + won.retirement).toBe(60);
  });

  it('waits with a claim until the retirement that is being decided is', async () => {
    const worker = mover();
    const transferId = await queued();
    const runner = database.createQueryRunner();
    await runner.startTransaction();
    await runner.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [`mover/${worker.workerId}`]);
    let settled = false;
    const claiming = transfers.claim(transferId, worker.workerId).finally(() => (settled = true));
    const refused = expect(claiming).rejects.toThrow(retires);
    await runner.query(
      "INSERT INTO mover_retirement (worker_id, host_group, pod, number, state) VALUES ($1, $2, 'p', 0, 'retiring')",
      [worker.workerId, group],
    );
    expect(settled).toBe(false);
    await runner.commitTransaction();
    await runner.release();
    await refused;
  });
});
