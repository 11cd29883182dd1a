export { startSessionDaemon } from './session-daemon.js';
export type { SessionDaemon } from './session-daemon.js';
