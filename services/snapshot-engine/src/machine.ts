/** The door for simulators: the service's machines and handlers, without its database and its NATS. */
export {
  deletionOf,
  removedIds,
  type ChainFacts,
  type ChainPoint,
  type DeletionState,
  type PointUse,
} from './deletion.js';
export { deletionMachine } from './deletion.machine.js';
export { listDeletion, newParents, refuseChanged, refuseDeletion } from './deletion.rules.js';
export { Deletions, type DeletionsOptions } from './deletions.js';
export { ItemHandlers } from './item.handlers.js';
export { Items, type ItemsOptions } from './items.js';
export { protectionMachine } from './protection.machine.js';
export { pointOf, type ProtectionState } from './protection.js';
export { restoreMachine } from './restore.machine.js';
export { type RestoreState } from './restore.js';
export { rollbackMachine } from './rollback.machine.js';
export { mayHaveWritten, writtenUntil, type RollbackState } from './rollback.js';
export { itemPhaseOf, type VerificationState } from './verification.js';
export { verificationMachine } from './verification.machine.js';
export { Verifications, type VerificationsOptions } from './verifications.js';
