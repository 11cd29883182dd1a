export {
  type MemoryNbdServer,
  type ServedDisk,
  type ServedRequest,
  type ServerScript,
  startMemoryNbdServer,
} from './memory-nbd-server.js';
