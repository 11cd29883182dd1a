import { FsObjectStore } from './fs-object-store.js';
import { LazyObjectStore } from './lazy-object-store.js';
import { type ObjectStore } from './object-store.js';
import { type S3Location } from './s3-connection.js';

/** Where a pool's objects live, with its secret in clear: for use in memory only. */
export type StoreLocation = { readonly kind: 'fs'; readonly path: string } | S3Location;

/** The store at a location. Does no I/O: what is wrong with the location shows at the first call. */
export const openObjectStore = (location: StoreLocation): ObjectStore => {
  if (location.kind === 'fs') return new FsObjectStore(location.path);
  return new LazyObjectStore(async () => {
    const { S3ObjectStore } = await import('./s3-object-store.js');
    return new S3ObjectStore(location);
  });
};
