export {
  type GetOptions,
  type ListedObject,
  type ObjectStore,
  type PutOptions,
  type SignalOption,
  type StoreUsage,
} from './object-store.js';
export { openObjectStore, type StoreLocation } from './open-object-store.js';
