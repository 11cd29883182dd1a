import { type NbdEndpoint } from '@casvault/block-source';
import fc from 'fast-check';
import { rollbackPoint, type RollbackRequest, type RollbackResult } from '../src/index.js';
import { Bench, command, mib } from './disks.js';
import { backup, chainId, diskOf, faultOf, makeRepository, uuid } from './engine.js';
import { bitmapContext, bytesOf, changesOf, serve, serveBytes, type ModelDisk } from './lying-tracker.js';

let bench: Bench;
let points = 0;
const location = () => ({ kind: 'fs', path: bench.path('pool') }) as const;
const writeCommand = 1;
const writeZeroesCommand = 6;

beforeAll(async () => {
  bench = await Bench.open();
  await makeRepository(location());
});
afterAll(() => bench.close());

function rollBack(
  destination: NbdEndpoint,
  point: number,
  since: number | null,
  more: Partial<RollbackRequest> = {},
): Promise<RollbackResult> {
  const known = { chainId, pointId: uuid('p', since ?? 0), dirtyBitmapContext: bitmapContext };
  return rollbackPoint(
    {
      location: location(),
      key: null,
      chainId,
      pointId: uuid('p', point),
      disks: [{ target: 'vda', destination, since: since === null ? null : known }],
      disksInParallel: 1,
      streamsPerDisk: 1,
      ...more,
    },
    { signal: new AbortController().signal },
  );
}

async function pointOf(disk: ModelDisk, parent?: number): Promise<number> {
  const point = (points += 1);
  const server = await serve(disk, []);
  const request = { point, streamsPerDisk: 1, ...(parent !== undefined && { parent }) };
  await backup(location(), [diskOf(0, server.endpoint)], request);
  await server.stop();
  return point;
}

const block = fc.nat(3);
const states = fc.array(fc.tuple(block, fc.option(block, { freq: 3 }), fc.option(block, { freq: 3 })), {
  minLength: 3,
  maxLength: 50,
});

it('F8: a disk is what it was at the point, and only what differs is written', async () => {
  await fc.assert(
    fc.asyncProperty(states, fc.boolean(), async (made, tracked) => {
      const wanted = made.map(([first]) => first);
      const between = made.map(([first, second]) => second ?? first);
      const now = made.map(([first, second, third]) => third ?? second ?? first);
      const point = await pointOf(wanted);
      const since = await pointOf(between, point);
      const bytes = bytesOf(now);
      const server = await serveBytes(bytes, changesOf(between, now), false);
      const [disk] = (await rollBack(server.endpoint, point, tracked ? since : null)).disks;
      const writes = server.requests.filter(({ command: one }) =>
        [writeCommand, writeZeroesCommand].includes(one),
      );
      await server.stop();
      expect(bytes.equals(bytesOf(wanted))).toBe(true);
      const differing = now.flatMap((value, i) => (value === wanted[i] ? [] : [i]));
      const lengthOf = (i: number) => Math.min(65_536, bytes.length - i * 65_536);
      const writtenBytes = differing.reduce((sum, i) => sum + lengthOf(i), 0);
      expect(disk!.writtenBytes).toBe(writtenBytes);
      expect(writes.reduce((sum, { length }) => sum + length, 0)).toBe(writtenBytes);
      expect(disk!.readBytes).toBeLessThanOrEqual(disk!.comparedBytes);
      expect(disk!.reasons).toEqual(tracked ? [] : ['ROLLED_BACK_BY_COMPARISON']);
      expect(disk!.doneBytes).toBe(disk!.comparedBytes);
    }),
    { numRuns: 8, seed: 20_260_103 },
  );
});

it('F8: with a bitmap only what may differ is read', async () => {
  const wanted = Array.from({ length: 200 }, () => 1);
  const between = wanted.map((value, i) => (i < 5 ? 2 : value));
  const now = between.map((value, i) => (i >= 100 && i < 107 ? 3 : value));
  const point = await pointOf(wanted);
  const since = await pointOf(between, point);
  const bytes = bytesOf(now);
  const server = await serveBytes(bytes, changesOf(between, now), false);
  const [disk] = (await rollBack(server.endpoint, point, since)).disks;
  await server.stop();
  expect(disk).toMatchObject({
    comparedBytes: 12 * 65_536,
    readBytes: 12 * 65_536,
    writtenBytes: 12 * 65_536,
  });
  expect(bytes.equals(bytesOf(wanted))).toBe(true);
});

it.each([true, false])(
  'F8, G2: cut off at every write and done again, with its bitmap: %p',
  async (tracked) => {
    const wanted = [1, 0, 2, 0, 3, 3, 0, 0, 1, 2, 0, 1];
    const between = [1, 1, 2, 0, 0, 3, 2, 0, 1, 2, 0, 1];
    const now = [2, 1, 0, 2, 0, 3, 2, 1, 1, 2, 0, 3];
    const point = await pointOf(wanted);
    const since = tracked ? await pointOf(between, point) : null;
    for (let kill = 1; ; kill += 1) {
      const bytes = bytesOf(now);
      let writes = 0;
      const dying = await serveBytes(bytes, changesOf(between, now), false, {
        reply: (request, ordinary) => {
          const isWrite = [writeCommand, writeZeroesCommand].includes(request.command);
          if (isWrite) writes += 1;
          return isWrite && writes === kill ? { last: ordinary() } : ordinary();
        },
      });
      const first = await rollBack(dying.endpoint, point, since).then(
        () => 'done',
        () => 'cut off',
      );
      await dying.stop();
      const again = await serveBytes(bytes, changesOf(between, now), false);
      await rollBack(again.endpoint, point, since);
      await again.stop();
      expect(bytes.equals(bytesOf(wanted))).toBe(true);
      if (first === 'done' && writes < kill) break;
      expect(kill).toBeLessThan(30);
    }
  },
);

it('F8: a qcow2 disk goes back over two points, by its bitmap and without', async () => {
  const size = 300 * mib;
  const raw = await bench.raw(
    'vm.raw',
    size,
    { at: 0, length: 40 * mib, seed: 1 },
    { at: 200 * mib, length: 20 * mib, seed: 2 },
  );
  const image = await bench.qcow2('vm.qcow2', raw);
  const write = (...commands: string[]) =>
    command('qemu-io', ...commands.flatMap((one) => ['-c', one]), image);
  const point = async (number: number, parent?: number) => {
    const source = await bench.serveReadOnly(image, 'qcow2');
    await backup(location(), [diskOf(0, source.endpoint)], {
      point: number,
      ...(parent !== undefined && { parent }),
    });
    await source.process.stop();
  };
  const first = (points += 1);
  await point(first);
  await command('cp', '--sparse=always', image, bench.path('first.qcow2'));
  await write('write -P 7 5M 300k', 'write -z 210M 1M', 'discard 20M 2M', 'write -P 9 299M 64k');
  const second = (points += 1);
  await point(second, first);
  await command('qemu-img', 'bitmap', '--add', '-g', '65536', image, 'b0');
  await write('write -P 3 6M 2M', 'write -P 4 100M 128k', 'write -z 0 1M');
  await command('cp', '--sparse=always', image, bench.path('changed.qcow2'));
  for (const since of [second, null]) {
    await command('cp', '--sparse=always', bench.path('changed.qcow2'), image);
    const target = await bench.serveWritable(image, 'qcow2', '-B', 'b0');
    const [disk] = (await rollBack(target.endpoint, first, since, { streamsPerDisk: 2 })).disks;
    await target.process.stop();
    expect(await bench.compare(bench.path('first.qcow2'), 'qcow2', image, 'qcow2')).toBe('');
    expect(disk!.writtenBytes).toBeLessThan(9 * mib);
    if (since !== null) expect(disk!.readBytes).toBeLessThan(9 * mib);
  }
});

it('F8: a bitmap of a point that is gone counts for nothing; a disk that the point has not is refused', async () => {
  const wanted = [1, 2, 3];
  const point = await pointOf(wanted);
  const bytes = bytesOf([3, 2, 1]);
  const server = await serveBytes(bytes, [false, false, false], false);
  const [disk] = (await rollBack(server.endpoint, point, 999)).disks;
  expect(disk!.reasons).toEqual(['ROLLED_BACK_BY_COMPARISON']);
  expect(bytes.equals(bytesOf(wanted))).toBe(true);
  const none = { disks: [{ target: 'vdz', destination: server.endpoint, since: null }] };
  expect((await faultOf(rollBack(server.endpoint, point, null, none))).code).toBe('INPUT_INVALID');
  await server.stop();
});
