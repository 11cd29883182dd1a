export type { EffectFailed, Machine, RuntimeEvent, Step, Woken } from './machine.js';
export { MemoryMachineStore, type MemoryMachineStoreOptions } from './memory-store.js';
export { backoffMs, retryUnavailable, retryWithin, type Failure, type RetryPolicy } from './retry.js';
export { MachineRuntime, type MachineRuntimeOptions, type Perform, type PerformContext } from './runtime.js';
export type {
  Applied,
  ClaimedEffect,
  Decide,
  EffectClaim,
  MachineStore,
  NewEffect,
  DueTimer,
  SavedStep,
  Settled,
  StepCause,
} from './store.js';
