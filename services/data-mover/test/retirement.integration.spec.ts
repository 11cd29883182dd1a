import { newId, type BackupHostId, type RunItemId, type TransferId } from '@casvault/contracts';
import { openDatabase, provisionSchema } from '@casvault/persistence';
import { startPostgres, testClock, TestLogger, until, type PostgresServer } from '@casvault/testkit';
import { type DataSource } from 'typeorm';
import { TransferStore } from '../src/controller/transfer-store.js';
import { Transfers, transferMachines } from '../src/controller/transfers.js';
import { dataMoverDatabase } from '../src/data-source.js';
import { madeWorkerId } from '../src/config.js';
import { Kubernetes } from '../src/scaler/kubernetes.js';
import { RetirementStore } from '../src/scaler/retirement-store.js';
import { ScalerRunner } from '../src/scaler/scaler-runner.js';
import { type ModelPod } from '../src/scaler/testing/model-cluster.js';
import { KubernetesApi, scalerRules } from './kubernetes-api.js';
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

  const queued = async (of = group): Promise<TransferId> => {
    const transferId = newId<TransferId>();
    await transfers.begin({ transferId, ownerId: newId<RunItemId>(), group: of, spec: restoreSpec() });
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

  it('scales through the API server: up by the queue, down around the one busy pod, then to nothing', async () => {
    const api = await KubernetesApi.start();
    const deployment = 'casvault-data-mover-scaled';
    api.model.addDeployment(deployment);
    const ended = new AbortController();
    const scaled = { group: 'scaled', deployment, min: 0, max: 3, transfers: 1, cooldownSeconds: 0 };
    const runner = new ScalerRunner({
      groups: [scaled],
      lease: 'casvault-scaler',
      holder: 'one',
      cluster: new Kubernetes({
        config: api.config(scalerRules),
        now: () => new Date(),
        signal: ended.signal,
      }),
      retirements,
      workerIdOf: madeWorkerId,
      clock: { now: () => new Date(), sleep: (_ms, signal) => testClock.sleep(20, signal) },
      monotonic: () => performance.now(),
      logger: new TestLogger(),
    });
    const running = runner.run(ended.signal);
    const pods = (count: number): Promise<ModelPod[]> =>
      until(() => {
        api.model.reconcile(deployment);
        const present = api.model
          .podsOf(deployment)
          .filter(({ metadata }) => metadata.deletionTimestamp === undefined);
        for (const pod of present)
          if (pod.status.phase === 'Pending')
            api.model.become(pod, { nodeName: 'node-1', phase: 'Running', ready: true });
        return present.length === count ? present : null;
      });
    try {
      const ids: TransferId[] = [];
      for (let index = 0; index < 5; index++) ids.push(await queued('scaled'));
      const [first] = await pods(3);
      const busy = first!.metadata.name;
      await transfers.claim(ids[0]!, madeWorkerId('scaled', busy));
      for (const id of ids.slice(1)) await transfers.deliver(id, { type: 'stop' });
      expect((await pods(1)).map(({ metadata }) => metadata.name)).toEqual([busy]);
      await transfers.deliver(ids[0]!, { type: 'finish', epoch: 1, outcome: { state: 'stopped' } });
      await pods(0);
      await until(async () => {
        const [row] = await database.query<{ count: number }[]>(
          "SELECT count(*)::int AS count FROM mover_retirement WHERE host_group = 'scaled'",
        );
        return row?.count === 0;
      });
    } finally {
      ended.abort();
      await running;
      await api.stop();
    }
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
