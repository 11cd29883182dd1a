/**
 * The CVM's REST as typed calls. Hides: digest authentication, JSON and XML with their quirks, business errors in GBK
 * headers, asynchronous tasks, paging, field traps, versions. Lenient in what it takes, except where leniency would
 * lose something: a list that is not understood is a fault, never an empty list.
 */
export { CasClient, type CasClientOptions, type CasPlatformFacts, type CasVm } from './client.js';
export { type CasConnection } from './http-transport.js';
export {
  type Architecture,
  type CompatibilityVerdict,
  judgeCompatibility,
  releaseOf,
} from './compatibility.js';
export { type CasHost, type CasHostRow } from './host.js';
export { type CasNetworkProfile, type CasVirtualSwitch } from './network.js';
export { type NewDisk, type NewNic, type NewVm } from './new-vm.js';
export { type CasSnapshot, type NewSnapshot } from './snapshot.js';
export { type CasStoragePool, type CasStorageVolume, isBlockStorage } from './storage.js';
export { type CasTemplate, type Deployment } from './template.js';
export { type TaskTiming } from './task.js';
export { type CasDisk, type CasNic, type CasPowerState, type CasVmDetail, type CasVmRow } from './vm.js';
