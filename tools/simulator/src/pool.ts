import { Fault } from '@casvault/contracts';
import { type Edge, type SimProcess } from './process.js';
import { type World } from './world.js';

/** What a block of a disk holds: the number of the write that made it; 0: never written. */
export type Content = number;

/** A pack: blocks of one point's disks, under one writer. */
export interface Pack {
  readonly key: string;
  readonly writerId: string;
  /** Opening and instant that its blocks are of. */
  readonly capture: string;
  readonly blocks: readonly { readonly disk: number; readonly block: number; readonly content: Content }[];
}
/** Where a block of a point lies: its pack, and what it held. */
export interface Place {
  readonly pack: string;
  readonly content: Content;
}
export interface ModelManifest {
  readonly pointId: string;
  readonly chainId: string;
  readonly parentPointId: string | null;
  readonly writerId: string;
  readonly capturedAt: string;
  readonly method: 'live' | 'offline' | 'internal-snapshot' | 'external-snapshot';
  readonly consistency: 'file-system' | 'crash';
  readonly disks: readonly ModelDiskMap[];
}
export interface ModelDiskMap {
  readonly target: string;
  readonly diskId: string;
  readonly sizeBytes: number;
  /** Null: zeros. */
  readonly map: readonly (Place | null)[];
  /** Made by a bitmap, with what proves it. */
  readonly lineage: {
    readonly checkpoint: string;
    readonly openingId: string;
    readonly generation: string;
  } | null;
  readonly readBytes: number;
  readonly tracked: boolean;
}

const edge = (name: string): Edge => ({ name, fault: 'pool', code: 'POOL_UNREACHABLE', timeoutMs: 500 });

/** A pool: packs, and one manifest at most for a point, put only where there is none. */
export class ModelPool {
  readonly packs = new Map<string, Pack>();
  readonly manifests = new Map<string, ModelManifest>();
  /** Points that can never be committed any more. */
  readonly voids = new Set<string>();
  /** Every manifest ever put, with the writers of it. */
  readonly everPut = new Map<string, number>();
  onPut: (manifest: ModelManifest) => void = () => undefined;
  onRemove: (pointId: string) => void = () => undefined;
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  async putPack(process: SimProcess, pack: Pack): Promise<void> {
    const { faults } = this.#world;
    await process.call(edge('pool: put pack'), () => {
      if (faults.strikes('pool', 0.2)) throw new Fault('POOL_FULL', 'the pool is full');
      this.packs.set(pack.key, pack);
    });
  }

  async packsOf(process: SimProcess, writerIds: readonly string[]): Promise<Pack[]> {
    if (writerIds.length === 0) return [];
    return process.call(edge('pool: list packs'), () =>
      [...this.packs.values()].filter(({ writerId }) => writerIds.includes(writerId)),
    );
  }

  /** The manifest that is there afterwards: this one, or the one that was there. */
  async putManifest(process: SimProcess, manifest: ModelManifest): Promise<ModelManifest> {
    return process.call(edge('pool: put manifest'), () => {
      const present = this.manifests.get(manifest.pointId);
      if (present) return present;
      if (this.voids.has(manifest.pointId))
        throw new Fault('LEASE_LOST', `the point ${manifest.pointId} was made void`);
      this.manifests.set(manifest.pointId, manifest);
      this.everPut.set(manifest.pointId, (this.everPut.get(manifest.pointId) ?? 0) + 1);
      this.#world.trace(process.name, `COMMITS point ${manifest.pointId}`);
      this.onPut(manifest);
      return manifest;
    });
  }

  async find(process: SimProcess, pointId: string): Promise<ModelManifest | null> {
    return process.call(edge('pool: get manifest'), () => this.manifests.get(pointId) ?? null);
  }

  async readBlock({ pack, content }: Place): Promise<Content> {
    const found = this.packs.get(pack);
    if (!found) throw new Fault('POOL_OBJECT_MISSING', `pack ${pack} is gone`);
    return content;
  }

  /** A short trip: for reading a run of blocks. */
  async reach(process: SimProcess): Promise<void> {
    await process.call(edge('pool: read'), () => undefined);
  }

  /** The manifest first, or a void point where attempts may be left, then the packs that no other point of the chain refers to. */
  async removePoint(
    process: SimProcess,
    { pointId, chainId, writers }: { pointId: string; chainId: string; writers: readonly string[] },
  ): Promise<void> {
    const own = await process.call(edge('pool: remove manifest'), () => {
      const manifest = this.manifests.get(pointId);
      if (writers.length > 0 && (!manifest || writers.length > 1)) this.voids.add(pointId);
      this.manifests.delete(pointId);
      if (manifest) this.onRemove(pointId);
      return manifest ? placesOf(manifest) : [];
    });
    const live = await process.call(edge('pool: list points'), () => {
      const chain = [...this.manifests.values()].filter((one) => one.chainId === chainId);
      return new Set(chain.flatMap(placesOf));
    });
    const listed = (await this.packsOf(process, writers)).map(({ key }) => key);
    for (const key of new Set([...own, ...listed]))
      if (!live.has(key)) await process.call(edge('pool: remove pack'), () => void this.packs.delete(key));
  }
}

const placesOf = ({ disks }: ModelManifest): string[] =>
  disks.flatMap(({ map }) => map.flatMap((place) => (place ? [place.pack] : [])));
