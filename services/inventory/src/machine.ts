/** The door for simulators: what inventory decides and does about VMs, without its database and its NATS. */
export { capabilitiesOf } from './capability.rules.js';
export { Checkpoints, type CheckpointsOptions } from './checkpoints.js';
export { EndedItems, type EndedItemsOptions } from './ended-items.js';
export { Reconciliation, type ReconciliationOptions } from './reconciliation.js';
export { VmPower, type VmPowerOptions } from './vm-power.js';
export { VmSnapshots, type VmSnapshotsOptions } from './vm-snapshots.js';
export { isHeir } from './shutdown.js';
