import {
  Fault,
  getPlatform,
  getPoint,
  type PlatformId,
  type Point,
  type PointId,
  type PoolId,
} from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { mapBounded } from './bounded.js';

/** Questions at the same time to one service. */
export const atOnce = 16;

/** A fault of another service, with the field of the definition to which it belongs. */
export const faultIn = (field: string, fault: Fault): Fault =>
  fault.kind === 'user' || fault.kind === 'conflict'
    ? new Fault(fault.code, `${field}: ${fault.message}`, { details: { ...fault.details, field } })
    : fault;

/** Names the field of the definition to which a fault of another service belongs. */
export const inField = async <T>(field: string, work: Promise<T>): Promise<T> => {
  try {
    return await work;
  } catch (error) {
    throw faultIn(field, Fault.from(error));
  }
};

/** The point that a field names, as its pool or, where one is named, that pool has it (E7), if it can be restored. */
export const availablePoint = async (
  client: MessagingClient,
  { pointId, poolId, field }: { pointId: PointId; poolId?: PoolId | undefined; field: string },
  signal: AbortSignal,
): Promise<Point> => {
  const point = await inField(field, client.request(getPoint, { pointId, poolId }, { signal }));
  if (point.state !== 'available')
    throw new Fault('CONFLICT', `${field}: point ${point.id} is ${point.state}, not available`, {
      details: { field, pointId: point.id, state: point.state },
    });
  return point;
};

/** Throws when one of the platforms that items go to is not there. */
export const requirePlatforms = async (
  client: MessagingClient,
  targets: readonly { platformId: PlatformId }[],
  signal: AbortSignal,
): Promise<void> => {
  const platforms = [...new Set(targets.map(({ platformId }) => platformId))];
  await mapBounded(platforms, atOnce, (platformId) =>
    inField('definition.items.target.platformId', client.request(getPlatform, { platformId }, { signal })),
  );
};
