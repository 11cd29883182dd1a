import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { NbdClient } from '@casvault/block-source';
import { runQuietly } from './command.js';
import { incompressible, type ContentSource } from './content.js';
import { endings } from './endings.js';
import { type EngineProcess } from './engine.js';
import { median } from './figures.js';
import { type LargeFigures } from './goals.js';
import { NbdServer } from './nbd-server.js';
import { SeededRandom } from './random.js';

const sizeBytes = 2 ** 40;
const mib = 2 ** 20;
const dataPieces = 256;
const points = 100;
const unchangedPoints = 5;
/** Never cleared: each point reads again what all before it wrote, and stores what is new. */
const bitmap = 'changes';

/**
 * A sparse disk of 1 TiB with 256 MiB of data: some points with nothing changed, then as many with a MiB changed as make 100 in one chain, then
 * one from their middle taken out.
 */
export async function measureLargeDisk(
  engine: EngineProcess,
  dir: string,
  say: (text: string) => void,
): Promise<LargeFigures> {
  const [disk, pool] = [join(dir, 'large.qcow2'), join(dir, 'large')];
  const remove = async (): Promise<void> => {
    await rm(disk, { force: true });
    await rm(pool, { recursive: true, force: true });
  };
  endings.add(remove);
  await runQuietly('qemu-img', 'create', '-q', '-f', 'qcow2', disk, String(sizeBytes));
  await fill(disk, join(dir, 'large.sock'));
  await runQuietly('qemu-img', 'bitmap', '--add', disk, bitmap);
  await mkdir(pool);
  await engine.call({ name: 'create', pool, encrypted: false });
  const figures = await measureChain(engine, pool, disk, join(dir, 'large.sock'));
  say(
    `1 TiB sparse: nothing changed ${figures.unchangedS.toFixed(2)} s, 1 of ${points} points removed in ` +
      `${figures.removalS.toFixed(2)} s, ${figures.removalWrittenMiB.toFixed(2)} MiB written`,
  );
  endings.drop(remove);
  await remove();
  return figures;
}

async function measureChain(
  engine: EngineProcess,
  pool: string,
  disk: string,
  socket: string,
): Promise<LargeFigures> {
  const server = await NbdServer.writable(disk, socket, bitmap);
  const client = await NbdClient.connect(server.endpoint);
  const [places, content] = [new SeededRandom(2), incompressible(3)];
  const backUp = async (point: number): Promise<number> => {
    const tracked = point === 1 ? null : bitmap;
    const call = {
      name: 'backup',
      pool,
      encrypted: false,
      endpoint: server.endpoint,
      bitmap: tracked,
      point,
    } as const;
    return (await engine.call(call)).wallS;
  };
  try {
    const unchanged: number[] = [];
    await backUp(1);
    for (let point = 2; point < 2 + unchangedPoints; point += 1) unchanged.push(await backUp(point));
    for (let point = 2 + unchangedPoints; point <= points; point += 1) {
      await write(client, places, content);
      await backUp(point);
    }
    const removal = await engine.call({ name: 'remove', pool, point: points / 2 });
    return {
      unchangedS: median(unchanged),
      removalS: removal.wallS,
      removalWrittenMiB: (removal.writtenBytes ?? NaN) / mib,
    };
  } finally {
    await client.close();
    await server.stop();
  }
}

async function fill(disk: string, socket: string): Promise<void> {
  const server = await NbdServer.writable(disk, socket);
  const client = await NbdClient.connect(server.endpoint);
  const [places, content] = [new SeededRandom(1), incompressible(1)];
  for (let piece = 0; piece < dataPieces; piece += 1) await write(client, places, content);
  await client.close();
  await server.stop();
}

/** A MiB somewhere. */
async function write(client: NbdClient, places: SeededRandom, content: ContentSource): Promise<void> {
  const bytes = (await content.next()).subarray(0, mib);
  await client.write(places.between(0, sizeBytes / mib - 1) * mib, bytes);
}
