export { ApiClient, ApiProblem } from './api-client.js';
export { ManagedProcess } from './managed-process.js';
export { startStack, type Stack, type StackOptions } from './stack.js';
export { allocatedBytes, labBackup, sameDisk, Trial } from './trial.js';
