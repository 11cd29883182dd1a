import {
  type Clock,
  type createPool,
  Fault,
  type Logger,
  type PageRequest,
  type Pool,
  type PoolId,
  type PoolLocation,
  type PoolView,
} from '@casvault/contracts';
import { type z } from 'zod';
import { eachBounded } from './bounded.js';
import { judgeLocation, placeOf, poolView } from './pool-place.js';
import { type PoolStore } from './pool-store.js';

export type PoolRequest = z.infer<typeof createPool.request>;

export interface PoolUsage {
  readonly capacityBytes: number | null;
  readonly freeBytes: number | null;
}

/** Access to the places where pools lie. Faults: POOL_UNREACHABLE, POOL_ACCESS_DENIED, POOL_FULL and their kin. */
export interface PoolPlaces {
  /** Makes the pool's repository, or takes up the one of the same id that is there. */
  prepare(pool: Pool, signal: AbortSignal): Promise<void>;
  usage(location: PoolLocation, signal: AbortSignal): Promise<PoolUsage>;
}

/** For one look at the room of a pool that may be away. */
const usageTimeoutMs = 2_000;
const parallelLooks = 8;

/** E1, E3: storage pools. */
export class Pools {
  constructor(
    private readonly store: PoolStore,
    private readonly places: PoolPlaces,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  /** Tried before it is saved. Sent again with the same id it replies with what is there. */
  async create(request: PoolRequest, signal: AbortSignal): Promise<PoolView> {
    judgeLocation(request.type, request.location);
    const place = placeOf(request.location);
    const known = await this.store.find(request.id);
    if (known !== null) {
      if (known.name === request.name && placeOf(known.location) === place) return this.view(known, signal);
      throw new Fault('ALREADY_EXISTS', `id: storage pool ${request.id} exists already, with other settings`);
    }
    await this.store.refuseTaken(request.name, place);
    const pool: Pool = { ...request, createdAt: this.clock.now().toISOString() };
    await this.places.prepare(pool, signal);
    await this.store.add(pool, place);
    return this.view(pool, signal);
  }

  async get(id: PoolId, signal: AbortSignal): Promise<PoolView> {
    return this.view(await this.store.get(id), signal);
  }

  access(id: PoolId): Promise<Pool> {
    return this.store.get(id);
  }

  async page(
    request: PageRequest,
    signal: AbortSignal,
  ): Promise<{ items: PoolView[]; nextCursor: string | null }> {
    const { items, nextCursor } = await this.store.page(request);
    const views = new Map<PoolId, PoolView>();
    await eachBounded(items, parallelLooks, async (pool) => {
      views.set(pool.id, await this.view(pool, signal));
    });
    return { items: items.flatMap((pool) => views.get(pool.id) ?? []), nextCursor };
  }

  /** A pool that is away is still shown, without its room. */
  private async view(pool: Pool, signal: AbortSignal): Promise<PoolView> {
    const limited = AbortSignal.any([signal, AbortSignal.timeout(usageTimeoutMs)]);
    try {
      return poolView(pool, await this.places.usage(pool.location, limited));
    } catch (error) {
      this.logger.warn({ pool: pool.name, err: Fault.from(error) }, 'the room of a pool is not known');
      return poolView(pool, { capacityBytes: null, freeBytes: null });
    }
  }
}
