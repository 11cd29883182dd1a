export { FaultyMachineStore, type Fate } from './faulty-store.js';
export { machineStoreConformance, type StoreUnderTest } from './store-conformance.js';
