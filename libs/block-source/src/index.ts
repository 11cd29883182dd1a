export {
  allocationContext,
  type DiskReader,
  type DiskWriter,
  type Extent,
  type ExtentOptions,
  isDirty,
  isHole,
  isZero,
} from './disk.js';
export { type DiskServiceAccess, DiskServiceClient } from './disk-service-client.js';
export { listNbdExports, NbdClient, type NbdConnectOptions } from './nbd-client.js';
export { type NbdEndpoint, type NbdTls } from './nbd-endpoint.js';
