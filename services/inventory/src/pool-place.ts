import { resolve } from 'node:path';
import { Fault, type Pool, type PoolLocation, type PoolView } from '@casvault/contracts';

/** Where a location is, in one text: two pools with the same text would share their objects. */
export const placeOf = (location: PoolLocation): string => {
  if (location.kind === 'fs') return `fs:${resolve(location.path)}`;
  const { host } = new URL(location.endpoint);
  return `s3:${host}/${location.bucket}/${location.prefix.replace(/^\/+|\/+$/g, '')}`;
};

/** E1 and E3: which medium a type of pool lies on. */
export const judgeLocation = (type: Pool['type'], location: PoolLocation): void => {
  const wanted = type === 'standard' ? 'fs' : 's3';
  if (location.kind !== wanted) {
    const rule =
      type === 'standard' ? 'a standard pool lies in a directory' : 'an object pool lies in a bucket';
    throw new Fault('INPUT_INVALID', `location: ${rule}, not on "${location.kind}"`, {
      details: { field: 'location' },
    });
  }
  if (location.kind === 'fs' && resolve(location.path) === '/')
    throw new Fault('INPUT_INVALID', 'location.path: must not be the root of the file system', {
      details: { field: 'location.path' },
    });
};

/** As the API shows it: the secret is left out, even sealed. */
export const poolView = (
  pool: Pool,
  usage: { capacityBytes: number | null; freeBytes: number | null },
): PoolView => {
  const { id, name, type, location, createdAt } = pool;
  return { id, name, type, location: locationView(location), ...usage, createdAt };
};

const locationView = (location: PoolLocation): PoolView['location'] => {
  if (location.kind === 'fs') return { kind: 'fs', path: location.path };
  const { kind, endpoint, region, bucket, prefix, accessKeyId, forcePathStyle } = location;
  return { kind, endpoint, region, bucket, prefix, accessKeyId, forcePathStyle };
};
