export { describeObjectStore, type StoreUnderTest } from './conformance.js';
export { FaultyObjectStore, type StoreFault, type StoreRule, type StoreVerb } from './faulty-object-store.js';
export { MemoryObjectStore } from './memory-object-store.js';
