import { MachineRuntime, type Machine, type RuntimeEvent } from '@casvault/machine';
import { testClock, until } from '@casvault/testkit';
import { type DataSource } from 'typeorm';
import { PostgresMachineStore } from '../src/index.js';
import { testDatabase, type TestDatabase } from './test-database.js';

/** Counts: every `begin` asks for three effects; each result steps the machine once. */
interface Count {
  readonly begun: number;
  readonly results: readonly string[];
  readonly woken: number;
}
type CountEvent = { type: 'begin' } | { type: 'result'; effectId: string } | RuntimeEvent<CountEffect>;
type CountEffect = { type: 'x' } | { type: 'y' };

const counter: Machine<Count, CountEvent, CountEffect> = {
  kind: 'counter',
  step(state, event, now) {
    const before = state ?? { begun: 0, results: [], woken: 0 };
    const soon = new Date(now.getTime() + 200);
    switch (event.type) {
      case 'begin':
        return {
          state: { ...before, begun: before.begun + 1 },
          effects: [{ type: 'x' }, { type: 'y' }, { type: 'x' }],
          wakeAt: soon,
          done: false,
        };
      case 'result':
        return {
          state: { ...before, results: [...before.results, event.effectId] },
          effects: [],
          wakeAt: before.woken === 0 ? soon : null,
          done: false,
        };
      case 'woken':
        return { state: { ...before, woken: before.woken + 1 }, effects: [], wakeAt: null, done: false };
      case 'effectFailed':
        return { state: before, effects: [], wakeAt: null, done: false };
    }
  },
};

const projection = {
  name: '0001-projection',
  sql: 'CREATE TABLE projection (id text PRIMARY KEY, results int NOT NULL, steps int NOT NULL)',
};

describe('two replicas over one database', () => {
  let database: TestDatabase;
  const unhandled: unknown[] = [];
  const note = (error: unknown) => unhandled.push(error);

  beforeAll(async () => {
    process.on('unhandledRejection', note);
    database = await testDatabase([projection]);
  });
  afterAll(async () => {
    process.off('unhandledRejection', note);
    await database.close();
  });

  const replica = (source: DataSource, performed: string[], ms: number) =>
    new MachineRuntime<Count, CountEvent, CountEffect>({
      machine: counter,
      store: new PostgresMachineStore(source, {
        project: async (tx, { id, after }) => {
          await tx.query(
            `INSERT INTO projection VALUES ($1, $2, 1)
             ON CONFLICT (id) DO UPDATE SET results = $2, steps = projection.steps + 1`,
            [id, (after as Count).results.length],
          );
        },
      }),
      perform: async (_effect, { effectId }) => {
        performed.push(effectId);
        await testClock.sleep(ms);
        return { type: 'result', effectId };
      },
      clock: testClock,
      logger: database.logger,
      leaseMs: 3_000,
      concurrency: 8,
    });
  const complete = async (runtime: { read(id: string): Promise<Count | null> }, names: string[]) => {
    for (const id of names) {
      const state = await runtime.read(id);
      if (new Set(state?.results).size !== 3) return false;
    }
    return true;
  };

  it('step every event once and perform every effect', async () => {
    const performed: string[] = [];
    const one = replica(database.source, performed, 20);
    const two = replica(await database.open(), performed, 20);
    one.start();
    two.start();
    const names: string[] = [];
    for (let n = 0; n < 40; n++) names.push(`race-${n}`);
    for (const id of names) {
      const messageId = `m-${id}`;
      await Promise.all([
        one.deliver(id, { type: 'begin' }, { messageId }),
        two.deliver(id, { type: 'begin' }, { messageId }),
      ]);
    }
    await until(() => complete(one, names));
    const awake = async (id: string) => (await one.read(id))?.woken === 1;
    for (const id of names) await until(() => awake(id));
    await one.drain();
    await two.drain();
    for (const id of names) {
      const state = await one.read(id);
      expect(state?.begun).toBe(1);
      expect(state?.results).toHaveLength(3);
    }
    expect(performed).toHaveLength(120);
    expect(new Set(performed).size).toBe(120);
    const rows: unknown = await database.source.query(
      "SELECT DISTINCT results, steps - results AS others FROM projection WHERE id LIKE 'race-%'",
    );
    expect(rows).toEqual([{ results: 3, others: 2 }]);
  });

  it('go on after the database was away', async () => {
    if (!database.server.own) return;
    const performed: string[] = [];
    const one = replica(database.source, performed, 300);
    const two = replica(await database.open(), performed, 300);
    one.start();
    two.start();
    const names = ['away-1', 'away-2', 'away-3', 'away-4'];
    for (const id of names) await one.deliver(id, { type: 'begin' }, { messageId: id });
    await until(() => performed.length >= 4);
    await database.server.kill();
    const late = two.deliver('away-late', { type: 'begin' }, { messageId: 'late' });
    await expect(late).rejects.toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
    await testClock.sleep(8_000);
    await database.server.start();
    await until(async () => {
      await two.deliver('away-late', { type: 'begin' }, { messageId: 'late' });
      return true;
    });
    await until(() => complete(two, [...names, 'away-late']));
    await one.drain();
    await two.drain();
    for (const id of [...names, 'away-late']) {
      const state = await two.read(id);
      expect(state).toMatchObject({ begun: 1 });
      expect(state?.results).toHaveLength(3);
    }
    expect(unhandled).toEqual([]);
  });
});
