import { Fault, getPlatform, getPoint, type PlatformId, type Point, type PointId } from '@casvault/contracts';
import { type MessagingClient } from '@casvault/messaging';
import { mapBounded } from './bounded.js';

/** Questions at the same time to one service. */
export const atOnce = 16;

/** Names the field of the definition to which a fault of another service belongs. */
export const inField = async <T>(field: string, work: Promise<T>): Promise<T> => {
  try {
    return await work;
  } catch (error) {
    const fault = Fault.from(error);
    if (fault.kind !== 'user' && fault.kind !== 'conflict') throw fault;
    throw new Fault(fault.code, `${field}: ${fault.message}`, { details: { ...fault.details, field } });
  }
};

/** The point that a field names, if it can be restored. */
export const availablePoint = async (
  client: MessagingClient,
  { pointId, field }: { pointId: PointId; field: string },
  signal: AbortSignal,
): Promise<Point> => {
  const point = await inField(field, client.request(getPoint, { pointId }, { signal }));
  if (point.state !== 'available')
    throw new Fault('CONFLICT', `${field}: point ${pointId} is ${point.state}, not available`, {
      details: { field, pointId, state: point.state },
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
