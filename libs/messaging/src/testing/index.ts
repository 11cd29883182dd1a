export { ScriptedService, type Script } from './scripted-service.js';
