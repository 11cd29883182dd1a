import {
  Fault,
  type DiskProgress,
  type OpeningId,
  type RollbackSpec,
  type TransferResult,
} from '@casvault/contracts';
import { Outage, remedyFor, remedyWhileOpen, volumeOpeningId } from '@casvault/data-mover/machine';
import { packBlocks } from './engine.js';
import { blockBytes } from './platform.js';
import { type Content, type ModelDiskMap, type ModelManifest } from './pool.js';
import { type Work } from './worker.js';

const untold = { totalBytes: null, doneBytes: 0, storedBytes: 0, resumedBytes: 0 } as const;

/** Writes what differs from a point into a stopped VM's own disks, as rollback-transfer.ts does. */
export class ModelRollback {
  readonly #work: Work<RollbackSpec>;
  readonly #outage: Outage;
  readonly #progress = new Map<string, DiskProgress>();

  constructor(work: Work<RollbackSpec>) {
    const { spec, engine, claim } = work;
    this.#work = work;
    this.#outage = new Outage(spec.options, engine.process.clock, engine.process.monotonic);
    for (const { target } of claim.capturedAt === null ? [] : spec.disks)
      this.#progress.set(target, { target, ...untold });
  }

  async run(): Promise<TransferResult> {
    const { lease } = this.#work;
    for (;;) {
      lease.throwIfEnded();
      try {
        return await this.#attempt();
      } catch (error) {
        lease.throwIfEnded();
        await this.#recover(Fault.from(error));
      }
    }
  }

  async #attempt(): Promise<TransferResult> {
    const { spec, lease, engine, openings, claim } = this.#work;
    await lease.prove();
    const manifest = await engine.pool.find(engine.process, spec.pointId);
    if (!manifest) throw new Fault('POOL_OBJECT_MISSING', `point ${spec.pointId} is not in the pool`);
    const lost: AbortSignal[] = [];
    for (const [at, { path, format, target }] of spec.disks.entries()) {
      const { sizeBytes } = diskOf(manifest, target);
      const forItem = claim.ownerId === undefined ? {} : { itemId: claim.ownerId };
      const request = { kind: 'volume', path, format, ...forItem, sizeBytes } as const;
      const held = await openings.open(volumeOpeningId(claim.openingId, target), request, lease.signal);
      this.#outage.reached();
      lost.push(held.lost);
      if (at === spec.disks.length - 1) await lease.captured(held.opening);
    }
    const signal = AbortSignal.any([lease.signal, ...lost]);
    for (const { target } of spec.disks) await this.#write(diskOf(manifest, target), signal);
    const disks = [...this.#progress.values()].map((disk) => ({
      ...disk,
      sizeBytes: diskOf(manifest, disk.target).sizeBytes,
      mapRoot: 'ab',
      reasons: [],
      tracked: false,
    }));
    return { disks, poolBytes: 0, capturedAt: null, method: 'write', consistency: 'crash', reasons: [] };
  }

  async #write({ target, map }: ModelDiskMap, signal: AbortSignal): Promise<void> {
    const { engine, lease, claim } = this.#work;
    const { process, pool } = engine;
    this.#tell({ target, ...untold });
    await lease.prove();
    const totalBytes = map.length * blockBytes;
    for (let at = 0; at < map.length; at += packBlocks) {
      await process.clock.sleep(process.world.random.whole(100, 900), signal);
      await pool.reach(process);
      if (signal.aborted) throw Fault.ofAbort(signal);
      const wanted: Content[] = [];
      for (const place of map.slice(at, at + packBlocks))
        wanted.push(place ? await pool.readBlock(place) : 0);
      this.#put(volumeOpeningId(claim.openingId, target), at, wanted);
      const doneBytes = Math.min(at + packBlocks, map.length) * blockBytes;
      this.#outage.over();
      this.#tell({ target, totalBytes, doneBytes, storedBytes: 0, resumedBytes: 0 });
    }
    this.#tell({ target, totalBytes, doneBytes: totalBytes, storedBytes: 0, resumedBytes: 0, durable: true });
  }

  #put(id: OpeningId, at: number, wanted: readonly Content[]): void {
    const { volume } = this.#work.engine.disks.connect(id, 'volume');
    if (!volume) return;
    for (const [i, content] of wanted.entries())
      if (volume.blocks[at + i] !== content) {
        this.#work.engine.onRollbackWrite(this.#work.transferId, volume);
        volume.blocks[at + i] = content;
      }
  }

  #tell(disk: DiskProgress): void {
    this.#progress.set(disk.target, disk);
    this.#work.onProgress([...this.#progress.values()]);
  }

  async #recover(fault: Fault): Promise<void> {
    const { lease, engine, transferId } = this.#work;
    const remedy = remedyFor(fault);
    const { world, name } = engine.process;
    world.trace(name, `${transferId} meets ${fault.code}: ${remedy}`);
    if (remedy === 'fail') throw fault;
    if (remedy !== 'wait') await lease.prove();
    const lost = await this.#closeLost(remedy === 'recapture' || remedy === 'look');
    if (remedy === 'look' && lost === 0 && remedyWhileOpen(fault) === 'fail') throw fault;
    await this.#outage.wait(fault, lease.signal);
  }

  async #closeLost(mayBe: boolean): Promise<number> {
    const { spec, claim, openings, lease } = this.#work;
    let lost = 0;
    for (const { target } of mayBe ? spec.disks : []) {
      const id = volumeOpeningId(claim.openingId, target);
      if (!(await openings.isLost(id, lease.signal))) continue;
      await openings.close(id, lease.signal);
      lost += 1;
    }
    return lost;
  }
}

const diskOf = ({ disks }: ModelManifest, target: string): ModelDiskMap => {
  const disk = disks.find((one) => one.target === target);
  if (!disk) throw new Fault('INPUT_INVALID', `the point has no disk ${target}`);
  return disk;
};
