export { inContracts, ScriptedService, type ContractOf, type Script } from './scripted-service.js';
