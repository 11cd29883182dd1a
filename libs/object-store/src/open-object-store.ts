import { FsObjectStore } from './fs-object-store.js';
import { type ObjectStore } from './object-store.js';
import { type S3Location } from './s3-connection.js';
import { S3ObjectStore } from './s3-object-store.js';

/** Where a pool's objects live, with its secret in clear: for use in memory only. */
export type StoreLocation = { readonly kind: 'fs'; readonly path: string } | S3Location;

/** The store at a location. Does no I/O: what is wrong with the location shows at the first call. */
export const openObjectStore = (location: StoreLocation): ObjectStore =>
  location.kind === 'fs' ? new FsObjectStore(location.path) : new S3ObjectStore(location);
