import {
  Fault,
  type DiskProgress,
  type OpeningId,
  type RestoreSpec,
  type TransferResult,
} from '@casvault/contracts';
import { Outage, remedyFor, remedyWhileOpen, volumeOpeningId } from '@casvault/data-mover/machine';
import { packBlocks } from './engine.js';
import { blockBytes } from './platform.js';
import { type ModelDiskMap, type ModelManifest } from './pool.js';
import { type Work } from './worker.js';

/** Writes a point's disks into fresh volumes, as restore-transfer.ts does. */
export class ModelRestore {
  readonly #work: Work<RestoreSpec>;
  readonly #outage: Outage;

  constructor(work: Work<RestoreSpec>) {
    const { spec, engine } = work;
    this.#work = work;
    this.#outage = new Outage(spec.options, engine.process.clock, engine.process.monotonic);
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
    const { spec, lease, engine } = this.#work;
    await lease.prove();
    const manifest = await engine.pool.find(engine.process, spec.pointId);
    if (!manifest) throw new Fault('POOL_OBJECT_MISSING', `point ${spec.pointId} is not in the pool`);
    const lost: AbortSignal[] = [];
    const ids: OpeningId[] = [];
    for (const disk of spec.disks) {
      const opened = await this.#open(disk, manifest);
      lost.push(opened.lost);
      ids.push(opened.id);
    }
    const signal = AbortSignal.any([lease.signal, ...lost]);
    const progress: DiskProgress[] = [];
    for (const [ordinal, { target }] of spec.disks.entries()) {
      const id = ids[ordinal];
      if (id) progress.push(await this.#write(diskOf(manifest, target), id, signal));
    }
    const disks = progress.map((disk) => ({
      ...disk,
      sizeBytes: diskOf(manifest, disk.target).sizeBytes,
      mapRoot: 'ab',
      reasons: [],
      tracked: false,
    }));
    return { disks, poolBytes: 0, capturedAt: null, method: 'write', consistency: 'crash', reasons: [] };
  }

  async #open({ path, format, target }: RestoreSpec['disks'][number], manifest: ModelManifest) {
    const { claim, openings, lease } = this.#work;
    const id = volumeOpeningId(claim.openingId, target);
    const { sizeBytes } = diskOf(manifest, target);
    const forItem = claim.ownerId === undefined ? {} : { itemId: claim.ownerId };
    const request = { kind: 'volume', path, format, ...forItem, sizeBytes, resize: true } as const;
    const { lost } = await openings.open(id, request, lease.signal);
    this.#outage.reached();
    return { id, lost };
  }

  async #write({ target, map }: ModelDiskMap, id: OpeningId, signal: AbortSignal): Promise<DiskProgress> {
    const { engine, onProgress } = this.#work;
    const { process, pool, disks } = engine;
    const wanted = map.flatMap((place, block) => (place ? [{ place, block }] : []));
    const progress = {
      target,
      totalBytes: wanted.length * blockBytes,
      doneBytes: 0,
      storedBytes: 0,
      resumedBytes: 0,
    };
    for (let at = 0; at < wanted.length; at += packBlocks) {
      const chunk = wanted.slice(at, at + packBlocks);
      await process.clock.sleep(process.world.random.whole(100, 900), signal);
      await pool.reach(process);
      if (signal.aborted) throw Fault.ofAbort(signal);
      const { volume } = disks.connect(id, 'volume');
      for (const { place, block } of chunk) if (volume) volume.blocks[block] = await pool.readBlock(place);
      progress.doneBytes += chunk.length * blockBytes;
      this.#outage.over();
      onProgress([{ ...progress }]);
    }
    return progress;
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
