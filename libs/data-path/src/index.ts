/**
 * The engines: a point is made, read, checked and removed. They know no service and no framework; clocks, ids and keys are parameters.
 * Invariants: a manifest is put last and only if there is none; what a restore writes was checked by its id; whatever happens, threads,
 * connections and promises end with the call. Memory never grows with the disk but by the formulas in the comments.
 */
export {
  backupPoint,
  resultOfManifest,
  type BackupDiskResult,
  type BackupRequest,
  type BackupResult,
  type BackupRun,
  type Compression,
} from './backup-point.js';
export { BlockSet } from './block-set.js';
export { Governor, type Speed, type SpeedCells } from './governor.js';
export { type BackupDisk, type TrackerChecks } from './backup-disk.js';
export { sampleSize } from './sample.js';
export { provenBitmap, type FoundBitmap } from './lineage.js';
export { copyPoint, type CopyRequest } from './copy-point.js';
export { findManifest, listPoints, readInventory, readManifest, type StoredManifest } from './points.js';
export { openPointReader, type PointExtent, type PointReader } from './point-reader.js';
export { removePoints, type RemovalRequest, type RemovalResult } from './remove-points.js';
export {
  createRepository,
  openLocked,
  openRepository,
  type LockedRepository,
  type NewRepository,
  type Repository,
} from './repository.js';
export { restorePoint, type RestoreRequest, type RestoreResult, type RestoreRun } from './restore-point.js';
export { RestingThreads } from './resting-threads.js';
export { warmEngine } from './thread-calls.js';
export {
  rollbackPoint,
  type RollbackDiskResult,
  type RollbackRequest,
  type RollbackResult,
} from './rollback-point.js';
export { verifyPoint, type VerifyRequest, type VerifyResult, type VerifiedDisk } from './verify-point.js';
