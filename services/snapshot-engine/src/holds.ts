import {
  type Chain,
  type ChainId,
  type Clock,
  type Hold,
  type Point,
  type PointId,
} from '@casvault/contracts';
import { type DeletionStore } from './deletion-store.js';
import { type PointStore } from './point-store.js';

/** G2: legal holds of points and chains. A reason sets or replaces one, null clears it. Faults: NOT_FOUND, CONFLICT while being deleted. */
export class Holds {
  constructor(
    private readonly deletions: DeletionStore,
    private readonly points: PointStore,
    private readonly clock: Clock,
  ) {}

  async ofPoint(pointId: PointId, reason: string | null, by: string): Promise<Point> {
    await this.deletions.holdPoint(pointId, this.#hold(reason, by));
    return this.points.get(pointId);
  }

  async ofChain(chainId: ChainId, reason: string | null, by: string): Promise<Chain> {
    await this.deletions.holdChain(chainId, this.#hold(reason, by));
    return this.points.chain(chainId);
  }

  #hold(reason: string | null, by: string): Hold | null {
    return reason === null ? null : { reason, by, at: this.clock.now().toISOString() };
  }
}
