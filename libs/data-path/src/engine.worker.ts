import { openBackup } from './backup-session.js';
import { type BackupThreadData } from './backup-thread.js';
import { openRestore } from './restore-session.js';
import { type RestoreThreadData } from './restore-thread.js';
import { serveThread } from './thread-calls.js';

// One kind of thread for both works: one that rests after the one is warm for the other.
serveThread({
  backup: (data, signal) => openBackup(data as BackupThreadData, signal),
  restore: (data, signal) => openRestore(data as RestoreThreadData, signal),
});
