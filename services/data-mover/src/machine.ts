/** The door for simulators: the controller's machines and handlers, and what a worker decides, without servers. */
export { type TransferState } from './controller/transfer.js';
export { TransferHandlers, WorkerHandlers } from './controller/transfer.handlers.js';
export { transferMachine } from './controller/transfer.machine.js';
export { Transfers, type TransfersOptions } from './controller/transfers.js';
export { HeldOpenings, type DiskService, type HeldOpening } from './worker/held-openings.js';
export { Outage } from './worker/outage.js';
export { remedyFor, remedyWhileOpen } from './worker/remedy.rules.js';
export { volumeOpeningId } from './worker/target-volumes.js';
export { TransferLease, type Claim, type Outcome } from './worker/transfer-lease.js';
